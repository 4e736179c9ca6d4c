"""Look from within: event triggers tell what is locked inside functions, DO and EXCEPTION blocks.

They live in the rehearsal's transaction, on a function in ``pg_temp``, and go with it. ``RAISE INFO``
reaches the client whatever client_min_messages says.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define, field
from psycopg import Connection
from psycopg.errors import Diagnostic

from confiture.postgres.session import quote_literal, send
from confiture.rehearsal.trace.snapshot import FACT_COLUMNS, OWN_LOCKS_SQL, Snapshot

_EVENTS = ("ddl_command_start", "ddl_command_end", "table_rewrite")

# PostgreSQL's AT_REWRITE_… bits, as pg_event_trigger_table_rewrite_reason() returns them.
_REASONS = {
    1: "its persistence changes",
    2: "a new column has a volatile default",
    4: "a column's type changes",
    8: "its access method changes",
}


@define
class EventTriggerTracer:
    """Looks taken inside statements, in the order in which they were.

    Attributes:
        conn: The session that is rehearsed.
        snapshots: Since they were last taken away.
        reasons: Why a table was rewritten, by its oid.
        unfinished_commands: How many DDL commands have begun and not ended: those that failed.
        refusal: Why there are none: what the server said to a role that may not.
    """

    conn: Connection[Any]
    snapshots: list[Snapshot] = field(factory=list)
    reasons: dict[int, str] = field(factory=dict)
    unfinished_commands: int = 0
    refusal: str | None = None
    _token: str = field(factory=lambda: f"confiture_{secrets.token_hex(8)}")
    _installed: bool = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Listen to what the triggers say meanwhile."""
        self.conn.add_notice_handler(self._hear)
        try:
            yield
        finally:
            self.conn.remove_notice_handler(self._hear)

    def mark_removed(self) -> None:
        """Take note that the transaction, or DISCARD TEMP, has taken the triggers away."""
        self._installed = False

    def remove(self) -> None:
        """Drop the triggers before a commit that would keep them."""
        if self._installed:
            send(self.conn, f"DROP FUNCTION pg_temp.{self._token} CASCADE")
            self._installed = False

    def install(self) -> None:
        """Have the triggers from now on, where this role may create them."""
        if self._installed or self.refusal:
            return
        point = f"{self._token}_set"
        try:
            send(self.conn, f"SAVEPOINT {point}; {self._render_sql()} RELEASE {point}")
            self._installed = True
        except psycopg.Error as error:
            send(self.conn, f"ROLLBACK TO {point}; RELEASE {point}")
            self.refusal = (error.diag.message_primary or str(error)).partition(' "')[0].strip()

    def take_snapshots(self) -> tuple[Snapshot, ...]:
        """Return the looks since the last time."""
        looks, self.snapshots = tuple(self.snapshots), []
        return looks

    def take_reasons(self) -> dict[int, str]:
        """Return why tables were rewritten since the last time."""
        reasons, self.reasons = self.reasons, {}
        return reasons

    def saw_all(self) -> bool:
        """Whether every DDL command since the last time was seen to its end."""
        begun, self.unfinished_commands = self.unfinished_commands, 0
        return begun == 0 and not self.refusal

    def _render_sql(self) -> str:
        name = f"pg_temp.{self._token}"
        facts = " || ',' || ".join(f"coalesce(({column})::text, '')" for column in FACT_COLUMNS)
        rewrite = (
            "pg_catalog.pg_event_trigger_table_rewrite_oid() || ',' || "
            "pg_catalog.pg_event_trigger_table_rewrite_reason()"
        )
        body = f"""
            DECLARE facts text; rewrite text := '';
            BEGIN
                IF tg_event = 'table_rewrite' THEN rewrite := {rewrite}; END IF;
                SELECT string_agg({facts}, ';') INTO facts {OWN_LOCKS_SQL};
                RAISE INFO USING MESSAGE =
                    concat_ws(' ', {quote_literal(self._token)}, '/', tg_event, '/', rewrite, '/', facts);
            END
        """
        each = "".join(
            f"CREATE EVENT TRIGGER {self._token}_{event} ON {event} EXECUTE FUNCTION {name}();"
            for event in _EVENTS
        )
        return (
            f"CREATE FUNCTION {name}() RETURNS event_trigger LANGUAGE plpgsql "
            f"SET search_path = pg_catalog AS {quote_literal(body)}; {each}"
        )

    def _hear(self, notice: Diagnostic) -> None:
        message = notice.message_primary or ""
        if not message.startswith(self._token):
            return
        _, event, rewrite, facts = (part.strip() for part in message.split("/"))
        self.unfinished_commands += {"ddl_command_start": 1, "ddl_command_end": -1}.get(event, 0)
        if rewrite:
            oid, reasons = map(int, rewrite.split(","))
            self.reasons[oid] = ", ".join(text for bit, text in _REASONS.items() if reasons & bit)
        self.snapshots.append(Snapshot.from_rows(map(_parse_row, filter(None, facts.split(";")))))


def _parse_row(text: str) -> tuple[Any, ...]:
    oid, mode, filenode, times, tuples = text.split(",")
    return int(oid), mode, int(filenode) if filenode else None, int(times), int(tuples)
