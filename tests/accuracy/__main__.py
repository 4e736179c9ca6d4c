"""Print how well a rehearsal sees; exit 1 where a figure is not reached."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence

import click

from confiture.testing.databases import TemplateDatabases
from tests.accuracy.cases import TABLES, Case, read_cases
from tests.accuracy.compare import Outcome, compare
from tests.accuracy.cost import measure_costs
from tests.accuracy.figures import compute_figures, render_table
from tests.accuracy.laboratory import open_laboratory, prepare, read_major
from tests.accuracy.rehearse_case import answer_case, try_case

PLACES = ("transaction", "clone", "embedded")
# Each embedded rehearsal starts a server of its own.
A_SHARE = {"embedded": 10}


def compare_case(templates: TemplateDatabases, case: Case, places: Sequence[str]) -> Iterator[Outcome]:
    """Rehearse a case in each place, and compare."""
    truth = case.truth(read_major(templates.conn))
    if truth is None:
        return
    with prepare(templates, case) as url:
        real = try_case(case, url) if "transaction" in places else None
        for place in places:
            if case.mode == "notx" and place == "transaction":
                continue
            answer = answer_case(case, url, place)
            yield compare(case, truth, answer, real)


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
    with open_laboratory() as templates:
        click.echo(f"PostgreSQL {templates.conn.info.server_version // 10000}, {len(cases)} cases")
        outcomes = [
            outcome
            for number, case in enumerate(cases)
            for outcome in compare_case(templates, case, places or _choose_places(number))
        ]
        priced = measure_costs(templates) if (not only if cost is None else cost) else ()
    good = _show(outcomes, () if places else A_SHARE)
    if priced:
        click.echo(render_table("\nwhat it costs", priced))
    sys.exit(0 if good and all(outcome.good for outcome in priced) else 1)


def _choose_places(number: int) -> tuple[str, ...]:
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
            lines = compute_figures(here, part=place in parts)
            click.echo(render_table(f"\nin {place}: {len(here)} cases", lines))
            good = good and all(line.good for line in lines)
    return good


if __name__ == "__main__":
    main()
