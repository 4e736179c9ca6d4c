"""Compare a statement's query plan here with the plan it would have under production's row counts.

The time of a statement grows along a curve only as long as its plan stays the same. Where PostgreSQL would
choose another join or another scan in production, the time here says little about the time there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from attrs import define, field, frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.rehearsal.trace.key_check import read_key_checks, select_largest
from confiture.sql.quote import quote_name
from confiture.sql.validated_keys import ValidatedKey

# From 18 on whoever may ANALYZE a table may set its statistics; before, only a superuser, in the catalog.
_FIRST_WITH_RESTORE = 180000
_PLANNER_SETTINGS = (
    "work_mem",
    "max_parallel_workers_per_gather",
    "seq_page_cost",
    "random_page_cost",
    "effective_cache_size",
)
# A check is never parallel: its plan is made by SPI_prepare, without the option that allows it.
_AS_IN_A_CHECK_SQL = """
SELECT set_config('work_mem', current_setting('maintenance_work_mem'), true),
    set_config('hash_mem_multiplier', '1', true), set_config('max_parallel_workers_per_gather', '0', true)
"""
_BYTES_PER_KB = 1024
_BLOCK_BYTES = 8192


@frozen
class PlanPair:
    """Two plans of one statement, in the format of ``EXPLAIN (FORMAT JSON)``."""

    here: Any
    there: Any

    @property
    def differs(self) -> bool:
        """True if the plans have other nodes; the order of a join's sides does not count."""
        here, there = (Counter(map(_describe_node, _walk_nodes(plan))) for plan in (self.here, self.there))
        return here != there


def _describe_node(node: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        node.get(key) for key in ("Node Type", "Strategy", "Join Type", "Relation Name", "Index Name")
    )


def _walk_nodes(plan: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the nodes of an explained statement."""
    # A rule makes several plans of one statement, or none. REFRESH has a text where others have a plan.
    waiting = [query["Plan"] for query in plan if isinstance(query, dict) and "Plan" in query]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.get("Plans", ())


@define
class ProductionPlanner:
    """What PostgreSQL's planner would know in production.

    Attributes:
        rows: The rows of each table there, by schema-qualified name.
        settings: The server's settings there, by name; memory in bytes.
        visible: The share of each table's pages that are all-visible there, by name.
        refused: True once the role was not allowed to compare the plans of a statement.
    """

    rows: Mapping[str, float] = field(repr=False)
    settings: Mapping[str, Any] = field(factory=dict, repr=False)
    visible: Mapping[str, float] = field(factory=dict, repr=False)
    refused: bool = field(default=False, init=False)

    def compare(self, conn: Connection[Any], sql: str) -> PlanPair | None:
        """Return both plans of a statement; ``None`` if it cannot be explained here.

        Runs in the caller's transaction, if there is one, and leaves nothing behind in it.
        """
        return self._compare(conn, sql, self.settings)

    def compare_key_checks(self, conn: Connection[Any], keys: Sequence[ValidatedKey]) -> PlanPair | None:
        """Return both plans of the check of the first foreign key whose plans differ; the keys exist."""
        settings = _choose_check_settings(self.settings)
        for check in select_largest(read_key_checks(conn, keys), self.rows):
            pair = self._compare(conn, check.sql, settings, _AS_IN_A_CHECK_SQL)
            if pair and pair.differs:
                return pair
        return None

    def _compare(
        self, conn: Connection[Any], sql: str, settings: Mapping[str, Any], preparation: str = ""
    ) -> PlanPair | None:
        try:
            # A savepoint, or a transaction for a statement that commits by itself in a copy.
            with conn.transaction(force_rollback=True):
                if preparation:
                    send(conn, preparation)
                return self._plan_twice(conn, sql, settings)
        except psycopg.errors.InsufficientPrivilege:
            self.refused = True
            return None
        except psycopg.Error:
            # The text may be a Python migration's, with placeholders.
            return None

    def describe_refusal(self) -> tuple[str, ...]:
        """Return a note for the report if the plans of a statement were not compared."""
        if not self.refused:
            return ()
        return (
            "query plans were not compared with production's, so an estimate may miss a change of plan: "
            "this needs PostgreSQL 18 and the right to ANALYZE the tables, or a superuser",
        )

    def _plan_twice(self, conn: Connection[Any], sql: str, settings: Mapping[str, Any]) -> PlanPair | None:
        here = _explain(conn, sql)
        growths = _read_growths(conn, self.rows, here)
        if not growths:
            return None
        changes = [_render_rows_sql(conn, name, growth) for name, growth in growths.items()]
        changes += [
            _render_visible_sql(conn, name, self.visible[name]) for name in growths if name in self.visible
        ]
        # One page stands for as many as the largest table grows: the size of a file cannot be set.
        settings_sql = f"SELECT {', '.join(_render_settings(settings, max(growths.values())))}"
        send(conn, ";".join((*changes, settings_sql)))
        return PlanPair(here, _explain(conn, sql))


def _choose_check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings under which PostgreSQL checks a foreign key on a server that has these."""
    # None is no number, and leaves what is set here.
    memory = settings.get("maintenance_work_mem")
    return {**settings, "work_mem": memory, "max_parallel_workers_per_gather": 0}


def _render_settings(settings: Mapping[str, Any], times: float) -> Iterator[str]:
    # A file may say anything, and these become SQL: only numbers.
    known = {
        name: value for name in _PLANNER_SETTINGS if isinstance(value := settings.get(name), int | float)
    }
    for name in ("work_mem", "max_parallel_workers_per_gather"):
        if name in known:
            value = f"{known[name] // _BYTES_PER_KB}kB" if name == "work_mem" else str(known[name])
            yield _render_set(name, quote_literal(value))
    for name in ("seq_page_cost", "random_page_cost"):
        base = known.get(name, f"current_setting('{name}')::float8")
        yield _render_set(name, f"({base} * {times})::text")
    for name in ("effective_cache_size", "min_parallel_table_scan_size", "min_parallel_index_scan_size"):
        # These settings count pages of 8 kB.
        bytes_there = known.get(name, f"pg_size_bytes(current_setting('{name}'))")
        yield _render_set(name, f"greatest(1, floor({bytes_there} / {_BLOCK_BYTES} / {times}))::bigint::text")


def _explain(conn: Connection[Any], sql: str) -> Any:
    ((plan,),) = fetch_rows(conn, f"EXPLAIN (FORMAT JSON, VERBOSE) {sql}")
    return json.loads(plan) if isinstance(plan, str | bytes) else plan


def _render_set(name: str, value: str) -> str:
    return f"set_config('{name}', {value}, true)"


def _read_growths(conn: Connection[Any], rows: Mapping[str, float], plan: Any) -> dict[str, float]:
    """Return how many times as many rows each relation of a plan has in production."""
    named = (
        quote_name(node.get("Schema"), node["Relation Name"])
        for node in _walk_nodes(plan)
        if "Relation Name" in node
    )
    names = [name for name in dict.fromkeys(named) if rows.get(name)]
    if not names:
        return {}
    counts = (_PLANNED_ROWS_SQL.format(name=quote_literal(name)) for name in names)
    (here,) = fetch_rows(conn, f"SELECT {', '.join(counts)}")
    return {name: rows[name] / count for name, count in zip(names, here, strict=True) if count and count > 0}


# The planner's own formula.
_PLANNED_ROWS_SQL = """
    (SELECT reltuples::float8 / greatest(relpages, 1)
        * greatest(pg_relation_size(oid) / current_setting('block_size')::int, 1)
    FROM pg_class WHERE oid = {name}::regclass)
"""


def _render_rows_sql(conn: Connection[Any], name: str, growth: float) -> str:
    """Return SQL that multiplies the planner's rows of a table and of its indexes.

    The planner multiplies the density of rows by the size of the file: each page has more rows.
    """
    table = f"{quote_literal(name)}::regclass"
    members = f"c.oid = {table} OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = {table})"
    if conn.info.server_version < _FIRST_WITH_RESTORE:
        return f"UPDATE pg_class c SET reltuples = c.reltuples * {growth} WHERE {members}"
    return (
        "SELECT pg_restore_relation_stats('schemaname', n.nspname::text, 'relname', c.relname::text, "
        f"'reltuples', (c.reltuples * {growth})::real) "
        f"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {members}"
    )


def _render_visible_sql(conn: Connection[Any], name: str, share: float) -> str:
    """Return SQL that marks this share of a table's pages as all-visible for the planner.

    A sample that nobody vacuumed has no such page, so that an index alone would not be read.
    """
    pages = f"ceil({share} * pg_relation_size(c.oid) / current_setting('block_size')::int)::int"
    table = f"c.oid = {quote_literal(name)}::regclass"
    if conn.info.server_version < _FIRST_WITH_RESTORE:
        return f"UPDATE pg_class c SET relallvisible = {pages} WHERE {table}"
    return (
        "SELECT pg_restore_relation_stats('schemaname', n.nspname::text, 'relname', c.relname::text, "
        f"'relallvisible', {pages}) "
        f"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {table}"
    )
