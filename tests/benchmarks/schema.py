"""How long ``confiture lint --schema`` takes for a thousand tables, and how often it asks the server.

The schema is the sound application of ``tests/application``, once in each of several schemas.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.accuracy.laboratory import open_laboratory
from tests.application.project import CONFIGURATION, list_files
from tests.benchmarks.lint import build_environment, measure_seconds
from tests.benchmarks.proxy import CountingProxy

TABLES, ROUNDS, LIMIT_S = 1000, 3, 5.0
_COUNT = (
    "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text ~ '^app_'"
)


def fill_database(url: str) -> tuple[int, int]:
    """Create the application until there are enough tables; return how many tables and functions there are."""
    text = "".join(file.sql for file in list_files(seeded=False))
    with psycopg.connect(url, autocommit=True) as conn:
        tables = copies = 0
        while tables < TABLES:
            copies += 1
            conn.execute(f"CREATE SCHEMA app_{copies}; SET search_path = app_{copies}; {text}".encode())
            ((tables,),) = conn.execute(_COUNT).fetchall()
        (functions,) = conn.execute(
            "SELECT count(*) FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^app_'"
        ).fetchone() or (0,)
    return tables, functions


def count_round_trips(url: str) -> int:
    """Return how often reading the catalog asks the server."""
    from confiture.schema.read_catalog import read_catalog

    options = conninfo_to_dict(url)
    who = f"user={options['user']} dbname={options['dbname']}"
    socket = f"{options['host']}/.s.PGSQL.{options.get('port', 5432)}"
    with (
        CountingProxy(socket) as proxy,
        psycopg.connect(f"{who} host={proxy.folder} port=5432", autocommit=True) as conn,
    ):
        proxy.messages = 0
        read_catalog(conn, "confiture")
        return proxy.messages


def main() -> None:
    """Print the time; exit 1 where it is too long."""
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as compiled,
        open_laboratory() as templates,
    ):
        url = templates.server.conninfo(templates.copy(templates.get_template("SELECT 1")))
        tables, functions = fill_database(url)
        configuration = CONFIGURATION.replace('["public"]', '["app_*"]')
        (Path(name) / "confiture.toml").write_text(configuration, encoding="utf-8")
        command = [sys.executable, "-m", "confiture", "lint", "--schema", "--url", url]
        environment = build_environment(compiled)
        began = os.times()
        elapsed_s = min(measure_seconds(command, environment, Path(name)) for _ in range(ROUNDS))
        ended = os.times()
        # How much of it is ours, however busy the machine is.
        cpu_s = (
            ended.children_user + ended.children_system - began.children_user - began.children_system
        ) / ROUNDS
        round_trips = count_round_trips(url)
    sys.stdout.write(
        f"confiture lint --schema, {tables:,} tables and {functions:,} functions: {elapsed_s:.2f} s, {cpu_s:.2f} s of CPU"
        f" (goal: under {LIMIT_S:.0f} s for {TABLES:,} tables); round trips that read the catalog: {round_trips}\n"
    )
    sys.exit(0 if elapsed_s < LIMIT_S else 1)


if __name__ == "__main__":
    main()
