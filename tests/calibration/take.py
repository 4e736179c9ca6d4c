"""Take timings on this machine: ``python -m tests.calibration.take > FILE``, best while it has nothing else to do.

Migrations of another table than `calibration-live` has, each in ``BEGIN … ROLLBACK`` on an embedded server, at
several sizes. What it prints has the columns that ``tests.calibration.timings`` reads.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.server import open_temporary_server
from confiture.testing.databases import TemplateDatabases
from tests.accuracy.laboratory import disable_autovacuum
from tests.calibration.live.__main__ import find_data_folder
from tests.calibration.live.measuring import read_processor

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
RUNS = 4
COLUMNS = ("case", "class", "rows", "pages", "repeat", "seconds", "adj_s", "cpu_s", "runq_wait_s")
_TABLES: tuple[LiteralString, ...] = (
    "CREATE TABLE meters (id int PRIMARY KEY, place text)",
    "CREATE TABLE readings (id bigint, meter int, at timestamptz, value double precision, price numeric,"
    " state text, remark text)",
    "CREATE TABLE archived (id bigint, meter int, value double precision)",
    "INSERT INTO meters SELECT i, 'place ' || i FROM generate_series(0, 999) i",
)
_ROWS = """
    INSERT INTO readings SELECT i, abs(hashint8(i)::bigint) % 1000,
        '2026-01-01'::timestamptz + (abs(hashint8(i + 1)::bigint) % 20000000) * interval '1 s',
        abs(hashint8(i + 2)::bigint) % 100000 / 7.0, (i % 9999) / 100.0,
        (ARRAY['new', 'checked', 'billed'])[1 + abs(hashint8(i + 3)::bigint) % 3],
        repeat(md5(i::text), 3)
    FROM generate_series(1, {rows}::bigint) i
"""
_AFTER: tuple[LiteralString, ...] = (
    "ALTER TABLE readings ADD PRIMARY KEY (id)",
    "CREATE INDEX ON readings (meter)",
    "ALTER TABLE readings ADD CONSTRAINT fair CHECK (price >= 0) NOT VALID",
    "VACUUM (FREEZE, ANALYZE) readings, meters",
)
# Name, class and statement.
CASES: tuple[tuple[str, str, LiteralString], ...] = (
    ("null_column", "catalog", "ALTER TABLE readings ADD checked_by text"),
    ("default_column", "catalog", "ALTER TABLE readings ALTER state SET DEFAULT 'new'"),
    ("rename_column", "catalog", "ALTER TABLE readings RENAME remark TO remarks"),
    ("not_null", "scan", "ALTER TABLE readings ALTER value SET NOT NULL"),
    ("check_text", "scan", "ALTER TABLE readings ADD CHECK (length(state) < 20)"),
    ("validate_check", "scan", "ALTER TABLE readings VALIDATE CONSTRAINT fair"),
    ("foreign_key", "scan", "ALTER TABLE readings ADD FOREIGN KEY (meter) REFERENCES meters"),
    ("index_time", "index", "CREATE INDEX ON readings (at)"),
    ("index_number", "index", "CREATE INDEX ON readings (value, meter)"),
    ("index_text", "index", "CREATE INDEX ON readings (upper(remark))"),
    ("index_part", "index", "CREATE INDEX ON readings (at) WHERE state = 'new'"),
    ("index_hash", "index", "CREATE INDEX ON readings USING hash (meter)"),
    ("key_wider", "rewrite", "ALTER TABLE readings ALTER meter TYPE bigint"),
    ("price_scale", "rewrite", "ALTER TABLE readings ALTER price TYPE numeric(14, 4)"),
    ("drawn_column", "rewrite", "ALTER TABLE readings ADD drawn double precision DEFAULT random()"),
    ("set_unlogged", "rewrite", "ALTER TABLE readings SET UNLOGGED"),
    ("update_every", "dml", "UPDATE readings SET state = upper(state)"),
    ("update_indexed", "dml", "UPDATE readings SET meter = meter + 1000"),
    ("update_tenth", "dml", "UPDATE readings SET value = 0 WHERE meter % 10 = 3"),
    ("delete_seventh", "dml", "DELETE FROM readings WHERE meter % 7 = 1"),
    ("insert_third", "dml", "INSERT INTO archived SELECT id, meter, value FROM readings WHERE state = 'new'"),
    (
        "matview_days",
        "matview",
        "CREATE MATERIALIZED VIEW days AS SELECT at::date, count(*), sum(price) FROM readings GROUP BY 1",
    ),
)


@frozen
class Run:
    """What one run took, in seconds."""

    seconds: float
    cpu_s: float
    runq_wait_s: float

    @property
    def adj_s(self) -> float:
        """Without waiting for a CPU, and no less than was computed."""
        return max(self.seconds - self.runq_wait_s, min(self.seconds, self.cpu_s))


def main() -> None:
    """Print a line for each run."""
    out = csv.writer(sys.stdout)
    out.writerow(COLUMNS)
    with (
        open_temporary_server(find_data_folder()) as server,
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn,
        disable_autovacuum(conn),
    ):
        out.writerows(take_timings(TemplateDatabases(server, conn), SIZES))


def take_timings(templates: TemplateDatabases, sizes: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Yield a line for each run of each case at each size."""
    for rows in sizes:
        name = templates.copy("template0")
        pages = _fill(templates.server.conninfo(name), rows)
        for case, work, sql in CASES:
            with _open_database(templates, name, several=work == "dml") as url:
                for repeat in range(RUNS):
                    run = _run(url(), sql)
                    seconds = (run.seconds, run.adj_s, run.cpu_s, run.runq_wait_s)
                    yield (case, work, rows, pages, repeat, *(round(second, 6) for second in seconds))
        templates.drop(name)


def _fill(url: str, rows: int) -> int:
    with psycopg.connect(url, autocommit=True) as conn:
        for sql in _TABLES:
            conn.execute(sql)
        conn.execute(_ROWS.format(rows=rows).encode())
        for sql in _AFTER:
            conn.execute(sql)
        ((pages,),) = conn.execute("SELECT relpages FROM pg_class WHERE relname = 'readings'").fetchall()
    return int(pages)


@contextmanager
def _open_database(templates: TemplateDatabases, name: str, *, several: bool) -> Iterator[Any]:
    """Lend what returns a database to run in: one for all runs, or a copy for each that leaves dead rows."""
    copies: list[str] = []

    def url() -> str:
        if several:
            copies.append(templates.copy(name))
        return templates.server.conninfo(copies[-1] if several else name)

    try:
        yield url
    finally:
        for copy in copies:
            templates.drop(copy)


def _run(url: str, sql: LiteralString) -> Run:
    with psycopg.connect(url, autocommit=True) as conn:
        _warm(conn)
        conn.execute("BEGIN")
        before, began = read_processor(conn.info.backend_pid), time.perf_counter()
        conn.execute(sql)
        seconds, after = time.perf_counter() - began, read_processor(conn.info.backend_pid)
        conn.execute("ROLLBACK")
    if before is None or after is None:
        raise SystemExit("the kernel does not say how long a process has waited for a CPU")
    spent = after.since(before)
    return Run(seconds, spent.cpu_ms / 1000, spent.waited_ms / 1000)


def _warm(conn: Connection[Any]) -> None:
    """Read the table once: a copy has nothing in memory."""
    conn.execute("SELECT count(remark) FROM readings")


if __name__ == "__main__":
    main()
