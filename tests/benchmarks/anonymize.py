"""Prints how many rows a second each strategy masks, and what a whole copy takes; ``ROWS=N`` for other sizes.

The figures of strategies are for ``ROWS`` rows of one table; the whole copy has 100,000 and 1,000,000 rows
(``SIZES=1000,2000``), of which the peak of memory must be the same.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from confiture.server import open_temporary_server
from confiture_anonymize.copy_plan import compile_plan
from confiture_anonymize.copy_rows import copy_table, hold_snapshot, prepare_session
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.read_profile import read_profile
from confiture_anonymize.source_schema import read_tables
from confiture_anonymize.verify_copy import verify_copy
from tests.benchmarks.anonymized_application import measure_application

ROWS = int(os.environ.get("ROWS", "200000"))
SIZES = tuple(int(size) for size in os.environ.get("SIZES", "100000,1000000").split(","))
GOAL_SET_BASED, GOAL_ANY = 100_000, 1_700
KEY = Key(b"a secret of many bytes")
SCHEMA = "CREATE TABLE people (id bigint PRIMARY KEY, t text, d date, n int, j jsonb)"
STRATEGIES: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("hash", "t", {"strategy": "hash"}),
    ("email", "t", {"strategy": "email"}),
    ("email, host kept", "t", {"strategy": "email", "keep_host": True}),
    ("pseudonym", "t", {"strategy": "pseudonym", "of": "name"}),
    ("redact", "t", {"strategy": "redact"}),
    ("redact a pattern", "t", {"strategy": "redact", "pattern": r"\d+"}),
    ("null", "t", {"strategy": "null"}),
    ("shuffle", "t", {"strategy": "shuffle"}),
    ("date_shift", "d", {"strategy": "date_shift"}),
    ("date_shift by subject", "d", {"strategy": "date_shift", "subject": "id"}),
    ("number", "n", {"strategy": "number", "min": 1, "max": 1000}),
    ("noise", "n", {"strategy": "noise"}),
    ("fixed", "j", {"strategy": "fixed", "value": "{}"}),
    ("phone", "t", {"strategy": "phone"}),
    ("pattern, luhn", "t", {"strategy": "pattern", "check": "luhn"}),
)
IN_PYTHON = ("phone", "pattern, luhn")


def main() -> None:
    """Print all figures, and which miss their goal."""
    with (
        open_temporary_server(Path(tempfile.gettempdir())) as server,
        _open_databases(server.conninfo) as (source, target),
    ):
        print(f"{ROWS} rows, one masked column each, on the embedded server")
        _measure(source, target, "hash", *STRATEGIES[0][1:], shown=False)
        missed = [
            name for name, column, rule in STRATEGIES if not _measure(source, target, name, column, rule)
        ]
        _measure_whole(source, target)
        print(f"below their goal: {', '.join(missed) or 'none'}")
        measure_application(server.conninfo, SIZES)


@contextmanager
def _open_databases(conninfo: Any) -> Iterator[tuple[Connection[Any], Connection[Any]]]:
    with psycopg.connect(conninfo("postgres"), autocommit=True) as conn:
        conn.execute("CREATE DATABASE original")
        conn.execute("CREATE DATABASE copy")
    with (
        psycopg.connect(conninfo("original"), autocommit=True) as source,
        psycopg.connect(conninfo("copy"), autocommit=True) as target,
    ):
        source.execute(SCHEMA)
        target.execute(SCHEMA)
        source.execute(
            "INSERT INTO people SELECT n, '+32 470 ' || 100000 + n, date '1950-01-01' + n %% 20000, n %% 5000,"
            " jsonb_build_object('n', n) FROM generate_series(1, %s) AS n",
            (ROWS,),
        )
        source.execute("VACUUM ANALYZE people")
        yield source, target


def _copy(
    source: Connection[Any], target: Connection[Any], rules: dict[str, dict[str, object]]
) -> tuple[float, Any, Any]:
    kept = {"strategy": "keep", "reason": "not measured"}
    columns = {f"people.{name}": rules.get(name, kept) for name in ("t", "d", "n", "j")}
    profile = read_profile({"profiles": {"bench": {"columns": columns}}}, "bench")
    plans = compile_plan(read_tables(source, "confiture"), profile, KEY)
    target.execute("TRUNCATE people")
    prepare_session(source, KEY, plans)
    began = time.perf_counter()
    with hold_snapshot(source):
        copy_table(source, target, plans[0])
    return time.perf_counter() - began, plans, profile


def _measure(
    source: Connection[Any],
    target: Connection[Any],
    name: str,
    column: str,
    rule: dict[str, object],
    *,
    shown: bool = True,
) -> bool:
    seconds, _, _ = _copy(source, target, {column: rule})
    goal = GOAL_ANY if name in IN_PYTHON else GOAL_SET_BASED
    if shown:
        print(f"{name:24} {ROWS / seconds:>10,.0f} rows/s  (goal {goal:,})")
    return ROWS / seconds >= goal


def _measure_whole(source: Connection[Any], target: Connection[Any]) -> None:
    rules = {column: rule for _, column, rule in STRATEGIES[::-1]}
    seconds, plans, profile = _copy(source, target, rules)
    print(f"{'four columns at once':24} {ROWS / seconds:>10,.0f} rows/s")
    began = time.perf_counter()
    findings = verify_copy(source, target, plans, profile, KEY)
    print(
        f"{'verify that copy':24} {ROWS / (time.perf_counter() - began):>10,.0f} rows/s, {len(findings)} findings"
    )


if __name__ == "__main__":
    main()
