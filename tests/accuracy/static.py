"""How well the text alone tells long blocks: ``make accuracy`` prints it, and squawk's own figures beside."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from confiture.exceptions import MigrationFault
from confiture.rules.evaluate import find_findings, select_rules
from confiture.rules.parse_files import parse_migration
from confiture.rules.registry import collect_rules
from confiture.sql.script import read_sql_text
from tests.accuracy.cases import Case, read_cases
from tests.accuracy.figures import Figure, render_table
from tests.accuracy.rehearse_case import OUTSIDE

PRECISION, RECALL = 0.90, 0.85
ON = 18
_RULES = {rule.id: rule for rule in collect_rules()}
# Errors that say that a statement fails, not that it blocks.
_FAILS = (
    "add-column-not-null-no-default",
    "concurrently-in-transaction",
    "duplicate-column-assignments",
    "transaction-control-in-migration",
    "uncommitted-transaction",
)


def is_visible_in_text(case: Case) -> bool:
    """Whether one of the rules that a case is of can be told from the text, or it is of none."""
    labels = case.row["expected_rule_ids"].split(",")
    return any(_RULES[label].basis != "measured" for label in labels if label in _RULES)


def lints_as_long(case: Case) -> bool | None:
    """Whether lint says that a case blocks for long; ``None`` where the text cannot be read."""
    text = f"{OUTSIDE if case.mode == 'notx' else ''}{case.migration}\n"
    root = Path.cwd()
    try:
        parsed = read_sql_text(text, root / "1_case.sql", keep_refused=True)
    except MigrationFault:
        return None
    assert parsed is not None
    found = find_findings([parse_migration("1", "case", parsed, root)], select_rules(_RULES.values()))
    return any(finding.severity == "error" and finding.rule not in _FAILS for finding in found)


def compare_all(cases: Iterable[Case]) -> tuple[list[str], int, int, int]:
    """Return what was wrong, and how many were rightly told, made up, and missed."""
    wrong: list[str] = []
    right = made_up = missed = 0
    for case in cases:
        truth, reported = case.truth(ON), lints_as_long(case)
        if truth is None or reported is None:
            continue
        right += truth.long and reported
        made_up += reported and not truth.long
        missed += truth.long and not reported
        if truth.long != reported:
            wrong.append(f"{case.id}: {'missed' if truth.long else 'made up'}: {case.migration}")
    return wrong, right, made_up, missed


def compute_figures(right: int, made_up: int, missed: int) -> tuple[Figure, Figure]:
    """Return precision and recall."""
    return (
        _build_figure("long block: precision", right, right + made_up, PRECISION),
        _build_figure("long block: recall", right, right + missed, RECALL),
    )


def _build_figure(name: str, part: int, whole: int, wanted: float) -> Figure:
    share = part / whole if whole else 1.0
    return Figure(name, f"{share:.3f} ({part} of {whole})", f"{wanted:.2f} at least", share >= wanted)


@click.command()
def main() -> None:
    """Print how well the text alone tells long blocks; exit 1 where that is not enough."""
    cases = [case for case in read_cases() if is_visible_in_text(case)]
    wrong, *counts = compare_all(cases)
    for line in wrong:
        click.echo(line)
    reached = compute_figures(*counts)
    click.echo(
        render_table(f"lint, by the text alone: {len(cases)} cases of rules that the text can tell", reached)
    )
    sys.exit(0 if all(figure.good for figure in reached) else 1)


if __name__ == "__main__":
    main()
