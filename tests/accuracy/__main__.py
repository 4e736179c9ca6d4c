"""Print how well a rehearsal sees; exit 1 where a figure is not reached."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence

import click

from confiture.testing.databases import TemplateDatabases
from tests.accuracy.cases import TABLES, Case, read_cases
from tests.accuracy.comparing import Outcome, compared
from tests.accuracy.cost import costs
from tests.accuracy.figures import figures, table
from tests.accuracy.laboratory import laboratory, major, prepared
from tests.accuracy.rehearsing import rehearsed, tried

PLACES = ("transaction", "clone", "embedded")
# Each embedded rehearsal starts a server of its own.
A_SHARE = {"embedded": 10}


def outcomes_of(templates: TemplateDatabases, case: Case, places: Sequence[str]) -> Iterator[Outcome]:
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


@click.command()
@click.option("--only", multiple=True, metavar="CASE", help="These cases only.")
@click.option("--table", "tables", multiple=True, type=click.Choice(TABLES), help="Of this table only.")
@click.option(
    "--in",
    "places",
    multiple=True,
    type=click.Choice(PLACES),
    help="All the cases in these places; without it in all three, in embedded every tenth.",
)
@click.option("--cost/--no-cost", default=None, help="Measure what it costs; not with --only.")
def main(only: tuple[str, ...], tables: tuple[str, ...], places: tuple[str, ...], cost: bool | None) -> None:
    """Print how well a rehearsal sees; exit 1 where a figure is not reached."""
    cases = [case for case in read_cases(*tables) if not only or case.id in only]
    with laboratory() as templates:
        click.echo(f"PostgreSQL {templates.conn.info.server_version // 10000}, {len(cases)} cases")
        outcomes = [
            outcome
            for number, case in enumerate(cases)
            for outcome in outcomes_of(templates, case, places or _usual(number))
        ]
        priced = costs(templates) if (not only if cost is None else cost) else ()
    good = _show(outcomes, () if places else A_SHARE)
    if priced:
        click.echo(table("\nwhat it costs", priced))
    sys.exit(0 if good and all(outcome.good for outcome in priced) else 1)


def _usual(number: int) -> tuple[str, ...]:
    return tuple(place for place in PLACES if number % A_SHARE.get(place, 1) == 0)


def _show(outcomes: Sequence[Outcome], parts: Collection[str]) -> bool:
    for outcome in outcomes:
        if outcome.refused:
            click.echo(f"{outcome.case}: refused before anything ran: {outcome.refused}")
    for outcome in outcomes:
        for wrong in outcome.wrong:
            click.echo(str(wrong))
    good = True
    for place in PLACES:
        if here := [outcome for outcome in outcomes if outcome.place == place]:
            lines = figures(here, part=place in parts)
            click.echo(table(f"\nin {place}: {len(here)} cases", lines))
            good = good and all(line.good for line in lines)
    return good


if __name__ == "__main__":
    main()
