"""``--explain``: the plan of each DML statement, from its only execution.

auto_explain sends the plan as a notice, in addition to the statement's result. If the role may not load
it, a statement of a file runs as ``EXPLAIN (ANALYZE)`` instead, which executes it once as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from attrs import define
from psycopg import Connection, Cursor
from psycopg.errors import Diagnostic

from confiture.postgres.server_messages import hear_notices
from confiture.postgres.session import send

_EXPLAIN_PREFIX = "EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) "
# At level info the plan reaches this client whatever client_min_messages is set to.
_SETTINGS = {"log_format": "json", "log_level": "info"} | dict.fromkeys(
    ("log_analyze", "log_buffers", "log_wal", "log_timing"), "on"
)


def _render_set(settings: Mapping[str, str]) -> str:
    calls = (f"set_config('auto_explain.{name}', '{value}', true)" for name, value in settings.items())
    return f"SELECT {', '.join(calls)}"


_ENABLE_SQL = _render_set(_SETTINGS | {"log_min_duration": "0"})
_DISABLE_SQL = _render_set({"log_min_duration": "-1"})


@define
class AutoExplain:
    """Collects the plans of statements on one connection.

    Attributes:
        conn: The connection that executes the statements.
        loaded: True if auto_explain is loaded; ``None`` until the first statement.
    """

    conn: Connection[Any]
    loaded: bool | None = None
    _last_plan: str | None = None

    def listen(self) -> AbstractContextManager[None]:
        """Receive auto_explain's notices inside the block."""
        return hear_notices(self.conn, self._hear)

    def begin(self) -> None:
        """Have the next statement explained, if auto_explain can be loaded."""
        if self.loaded is None:
            self.loaded = self._load()
        if self.loaded:
            send(self.conn, _ENABLE_SQL)
            self._last_plan = None

    def end(self) -> Any:
        """Return the plan of the statement since ``begin``, as PostgreSQL's JSON, or ``None``."""
        plan, self._last_plan = self._last_plan, None
        if self.loaded:
            send(self.conn, _DISABLE_SQL)
        return [_drop_query_text(json.loads(plan))] if plan else None

    def _load(self) -> bool:
        point = "confiture_auto_explain"
        # auto_explain and its settings are for superusers. In a savepoint, because an error would abort the
        # migration's transaction.
        try:
            send(
                self.conn,
                f"SAVEPOINT {point}; LOAD 'auto_explain'; {_ENABLE_SQL}; {_DISABLE_SQL}; RELEASE {point}",
            )
        except psycopg.Error:
            send(self.conn, f"ROLLBACK TO {point}; RELEASE {point}")
            return False
        return True

    def _hear(self, notice: Diagnostic) -> None:
        message = notice.message_primary or ""
        if message.startswith("duration: ") and "plan:\n" in message:
            self._last_plan = message.partition("plan:\n")[2]


def _drop_query_text(plan: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plan.items() if key != "Query Text"}


def wrap_in_explain(sql: str) -> str:
    """Return the statement inside an EXPLAIN that executes it."""
    return _EXPLAIN_PREFIX + sql


def read_explain(cursor: Cursor[Any]) -> tuple[Any, int | None]:
    """Return the plan of an EXPLAIN, and the number of rows that its statement changed."""
    ((plan,),) = cursor.fetchall()
    top = plan[0]["Plan"]
    return plan, _count_changed(top) if top["Node Type"] == "ModifyTable" else None


def _count_changed(top: dict[str, Any]) -> int:
    """Return the rows that the command tag would count."""
    # MERGE and ON CONFLICT do not change every input row, but their plans have counters.
    counters = [top[key] for key in ("Tuples Inserted", "Tuples Updated", "Tuples Deleted") if key in top]
    if counters:
        return int(sum(counters))
    # EXPLAIN prints the average number of rows of one loop.
    return int(sum(node["Actual Rows"] * node["Actual Loops"] for node in _find_inputs(top)))


def _find_inputs(top: dict[str, Any]) -> list[dict[str, Any]]:
    # InitPlans and SubPlans are children too; their rows are not the ones that are changed.
    return [node for node in top.get("Plans", ()) if node["Parent Relationship"] in ("Outer", "Member")]
