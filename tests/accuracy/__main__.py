"""Print how well a rehearsal sees; exit 1 where a figure is not reached."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import psycopg
from psycopg import Connection

from confiture.testing.databases import Templates
from confiture.testing.servers import server_for_tests
from tests.accuracy.cases import TABLES, Case, read_cases
from tests.accuracy.comparing import Outcome, compared
from tests.accuracy.figures import figures, table
from tests.accuracy.rehearsing import prepared, rehearsed, tried

PLACES = ("transaction",)


@contextmanager
def laboratory() -> Iterator[Templates]:
    """Lend a server that does nothing by itself, and databases on it."""
    with (
        server_for_tests() as server,
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn,
    ):
        # A vacuum of its own accord would look like something that a rehearsal left behind.
        conn.execute("ALTER SYSTEM SET autovacuum = off")
        conn.execute("SELECT pg_reload_conf()")
        yield Templates(server, conn)


def outcomes_of(templates: Templates, case: Case, places: Sequence[str]) -> Iterator[Outcome]:
    """Rehearse a case in each place, and compare."""
    truth = case.truth(major(templates.conn))
    if truth is None:
        return
    with prepared(templates, case) as url:
        real = tried(case, url) if "transaction" in places else None
        for place in places:
            if case.mode == "notx" and place == "transaction":
                continue
            answer = rehearsed(case, url, place)
            yield compared(case, truth, answer, real)


def major(conn: Connection[Any]) -> int:
    """Return the server's major version."""
    return conn.info.server_version // 10000


@click.command()
@click.option("--only", multiple=True, metavar="CASE", help="These cases only.")
@click.option("--table", "tables", multiple=True, type=click.Choice(TABLES), help="Of this table only.")
@click.option("--in", "places", multiple=True, type=click.Choice(PLACES), help="In these places only.")
def main(only: tuple[str, ...], tables: tuple[str, ...], places: tuple[str, ...]) -> None:
    """Print how well a rehearsal sees; exit 1 where a figure is not reached."""
    cases = [case for case in read_cases(*tables) if not only or case.id in only]
    with laboratory() as templates:
        click.echo(f"PostgreSQL {templates.conn.info.server_version // 10000}, {len(cases)} cases")
        outcomes = [each for case in cases for each in outcomes_of(templates, case, places or PLACES)]
    good = _show(outcomes)
    sys.exit(0 if good else 1)


def _show(outcomes: Sequence[Outcome]) -> bool:
    for outcome in outcomes:
        if outcome.refused:
            click.echo(f"{outcome.case}: refused before anything ran: {outcome.refused}")
    for outcome in outcomes:
        for wrong in outcome.wrong:
            click.echo(str(wrong))
    good = True
    for place in PLACES:
        if here := [each for each in outcomes if each.place == place]:
            lines = figures(here)
            click.echo(table(f"\nin {place}: {len(here)} cases", lines))
            good = good and all(line.good for line in lines)
    return good


if __name__ == "__main__":
    main()
