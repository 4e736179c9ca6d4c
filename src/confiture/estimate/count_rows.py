"""Count the rows of the tables that a plan names, in the session that rehearses it.

PostgreSQL's own figure is an estimate from the size of the file, which dead rows inflate: after three rolled
back UPDATEs of 100,000 rows it was 473,805. So tables with dead rows are counted too: a Python migration
names none before it runs, and a view or a foreign key leads to tables that the SQL does not name. Counting
also reads the table into memory and maps its pages into the session's process, which production has done long
before a migration runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from attrs import evolve, field, frozen
from psycopg import Connection
from psycopg.errors import QueryCanceled

from confiture.estimate.statistics import RelationStatistics, Statistics
from confiture.migrations.prepare import PreparedMigration
from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.rehearsal.named_relations import find_names, read_family

COUNT_BUDGET_S = 10.0
"""How long to count before tables are sampled, in seconds, for all tables of a plan together."""
_SAMPLED_PAGES = 5_000
# A table that is not reached any more still gets this long, so that small ones are counted in full.
_SHORTEST_S = 0.05
_SAMPLE_S = 10.0
# Without row_security, a policy that hides rows from this role is an error, and not a smaller count.
_BEGIN_SQL = (
    "BEGIN READ ONLY; SET LOCAL statement_timeout = {milliseconds}; SET LOCAL lock_timeout = '1s';"
    " SET LOCAL row_security = off;"
)
# A rolled back CREATE INDEX leaves relpages with the pages of dead rows, but reltuples without those rows.
# The counters of the cumulative statistics still know of them then, and nothing else knows of those in TOAST.
# In a database that was copied from a template they start at zero, and a session that goes on reports to them
# late, so tables whose files have grown are counted too.
_DEAD_SQL = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.dead,
        c.dead > 0.1 * c.reltuples OR c.grown,
        CASE WHEN t.live > 0 THEN t.live / (t.live + t.dead) ELSE 1.0 END
    FROM (
        SELECT *, pg_stat_get_dead_tuples(oid)::float8 AS dead,
            relpages > 0 AND coalesce(pg_relation_size(oid), 0)
                > 1.1 * relpages * current_setting('block_size')::int AS grown
        FROM pg_class WHERE relkind IN ('r', 'm')
    ) c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (
        SELECT pg_stat_get_dead_tuples(oid)::float8 AS dead,
            coalesce(nullif(pg_stat_get_live_tuples(oid), 0)::float8, reltuples) AS live
        FROM pg_class WHERE oid = c.reltoastrelid
    ) t ON true
    WHERE (c.dead > 0 OR t.dead > 0 OR c.grown)
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""
_PAGES_SQL = "SELECT pg_relation_size({name}::regclass) / current_setting('block_size')::int"


@frozen
class DeadRows:
    """The dead rows of a table, by PostgreSQL's cumulative statistics.

    Attributes:
        rows: Their number.
        many: True if they make PostgreSQL's estimate of the rows wrong.
        toast_share: The share of the values in its TOAST table that are alive.
    """

    rows: float = 0.0
    many: bool = False
    toast_share: float = 1.0


@frozen
class CountedRows:
    """The rows of tables, counted or extrapolated from a sample.

    Attributes:
        rows: By schema-qualified name.
        sampled: The names of those that were too large to be counted.
        dead: The dead rows of each table that has some.
    """

    rows: Mapping[str, float]
    sampled: tuple[str, ...] = ()
    dead: Mapping[str, DeadRows] = field(factory=dict)

    def correct(self, statistics: Statistics) -> Statistics:
        """Return the statistics with these rows instead of PostgreSQL's estimates."""
        relations = {
            name: _correct_relation(relation, self.rows[name], self.dead.get(name, DeadRows()))
            if name in self.rows
            else relation
            for name, relation in statistics.relations.items()
        }
        return evolve(statistics, relations=relations)


def _correct_relation(relation: RelationStatistics, rows: float, dead: DeadRows) -> RelationStatistics:
    # PostgreSQL derives the rows from the pages: where it sees too many rows, the pages hold dead ones.
    # They are not compared with production's pages: an earlier rehearsal has left them.
    shares = [1.0, *(rows / total for total in (relation.rows, rows + dead.rows) if total)]
    return evolve(
        relation,
        rows=rows,
        pages=round(relation.pages * min(shares)),
        toast_bytes=round(relation.toast_bytes * dead.toast_share),
    )


def count_rows(
    conn: Connection[Any], works: Iterable[PreparedMigration], budget_s: float = COUNT_BUDGET_S
) -> CountedRows:
    """Return the rows of each table and partition that the SQL of a plan names, on an idle connection.

    Also of each other table with many dead rows, as long as the budget lasts.
    """
    named = _list_tables(conn, works)
    dead = _read_dead_rows(conn)
    deadline = time.monotonic() + budget_s
    rows: dict[str, float] = {}
    sampled: list[str] = []
    for name in (*named, *(name for name in dead if dead[name].many and name not in named)):
        if name not in named and time.monotonic() > deadline:
            break
        try:
            rows[name], is_sampled = _count_or_sample(
                conn, name, max(deadline - time.monotonic(), _SHORTEST_S)
            )
            sampled += [name] if is_sampled else []
        except psycopg.Error:
            # The role may change a table but not read it or all of its rows, another session has locked it,
            # or a materialized view was never filled: PostgreSQL's estimate has to do.
            if conn.closed:
                raise
            send(conn, "ROLLBACK")
    return CountedRows(rows, tuple(sampled), dead)


def _read_dead_rows(conn: Connection[Any]) -> dict[str, DeadRows]:
    begin = _BEGIN_SQL.format(milliseconds=round(1000 * _SAMPLE_S))
    try:
        return {name: DeadRows(*values) for name, *values in fetch_rows(conn, f"{begin} {_DEAD_SQL}; COMMIT")}
    except psycopg.Error:
        # Another session has locked a table, whose size cannot be read then.
        if conn.closed:
            raise
        send(conn, "ROLLBACK")
        return {}


def vacuum_tables(conn: Connection[Any], works: Iterable[PreparedMigration]) -> None:
    """Remove the dead rows of each table that the SQL of a plan names, in a clone.

    It has the dead rows that rehearsals left in its source, but not the counters that know of them.
    """
    if names := _list_tables(conn, works):
        # Those that the role may not vacuum are passed over with a warning.
        send(conn, "SET client_min_messages = error; SET statement_timeout = 0")
        send(conn, f"VACUUM {', '.join(names)}")
        send(conn, "RESET client_min_messages; RESET statement_timeout")


def _count_or_sample(conn: Connection[Any], name: str, seconds: float) -> tuple[float, bool]:
    """Return the rows of a table, and True if they come from a sample."""
    # ONLY, because partitions are counted one by one.
    counting = f"SELECT count(*) FROM ONLY {name}"
    try:
        return _fetch_number(conn, counting, seconds), False
    except QueryCanceled:
        send(conn, "ROLLBACK")
    pages = _fetch_number(conn, _PAGES_SQL.format(name=quote_literal(name)), _SAMPLE_S)
    percent = min(100.0, 100.0 * _SAMPLED_PAGES / max(pages, 1))
    count = _fetch_number(conn, f"{counting} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0)", _SAMPLE_S)
    return count * 100.0 / percent, True


def _fetch_number(conn: Connection[Any], query: str, seconds: float) -> float:
    begin = _BEGIN_SQL.format(milliseconds=round(1000 * seconds))
    ((number,),) = fetch_rows(conn, f"{begin} {query}; COMMIT")
    return float(number)


def _list_tables(conn: Connection[Any], works: Iterable[PreparedMigration]) -> Sequence[str]:
    # Only a migration in SQL names its tables before it runs.
    texts = [statement.sql for work in works if work.script for statement in work.script.statements]
    naming = [text for text in texts if find_names(text)]
    if not naming:
        return ()
    family = read_family(conn, ";\n".join(naming))
    return sorted({relation.name for relation in family if relation.kind in ("r", "m")})
