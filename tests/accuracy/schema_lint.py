"""How well ``lint --schema`` judges a large application's schema: ``make accuracy`` prints it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import psycopg
from attrs import frozen

from confiture.models.report import Finding
from confiture.rules.registry import collect_rules
from tests.accuracy.figures import Figure, render_table
from tests.accuracy.laboratory import open_laboratory
from tests.application.project import list_expected, write_project
from tests.in_process import run_in_process

MOST_FALSE = 0.02
Expected = tuple[str, str, str]


@frozen
class Judgement:
    """What was found in the application.

    Attributes:
        expected: The seeded faults.
        found: The findings that are not ignored.
        missed: The seeded faults that were not found.
        false: The findings that are no seeded fault.
    """

    expected: Sequence[Expected]
    found: Sequence[Finding]
    missed: Sequence[Expected]
    false: Sequence[Finding]


def compare_findings(expected: Sequence[Expected], found: Sequence[Finding]) -> Judgement:
    """Match each seeded fault with one finding of its rule, its object and its word."""
    missed = []
    left = list(found)
    for fault in expected:
        rule, relation, word = fault
        match = next(
            (
                item
                for item in left
                if (item.rule, item.relation) == (rule, relation) and word in item.message
            ),
            None,
        )
        if match is None:
            missed.append(fault)
        else:
            left.remove(match)
    return Judgement(expected, found, missed, left)


def apply_files(url: str, files: Iterable[Path]) -> None:
    """Apply the application's SQL files."""
    with psycopg.connect(url) as conn:
        for file in files:
            conn.execute(file.read_bytes())


def lint_application(folder: Path, url: str) -> list[Finding]:
    """Return the findings of ``lint --schema`` in a project's folder, without the ignored ones."""
    arguments = ["lint", "--schema", "--url", url, "--output", "json"]
    answer = run_in_process(arguments, folder=folder, environ=dict(os.environ))
    findings = json.loads(answer.out)["findings"]
    return [Finding(**{**finding, "files": ()}) for finding in findings if not finding["ignored"]]


def compute_figures(judgement: Judgement) -> tuple[Figure, ...]:
    """Return what was found, what was made up, and of how many rules."""
    expected, found = len(judgement.expected), len(judgement.found)
    share = len(judgement.false) / found if found else 0.0
    judged = {rule.id for rule in collect_rules() if rule.judges_schema}
    seeded = {rule for rule, _, _ in judgement.expected}
    return (
        Figure(
            "seeded faults found",
            f"{expected - len(judgement.missed)} of {expected}",
            "all",
            not judgement.missed,
        ),
        Figure(
            "false findings",
            f"{share:.1%} ({len(judgement.false)} of {found})",
            "under 2 %",
            share < MOST_FALSE,
        ),
        Figure(
            "rules with a seeded fault", f"{len(judged & seeded)} of {len(judged)}", "all", judged == seeded
        ),
    )


@click.command()
def main() -> None:
    """Print how well lint --schema judges the application; exit 1 where that is not enough."""
    with tempfile.TemporaryDirectory() as name, open_laboratory() as templates:
        files = write_project(Path(name))
        url = templates.server.conninfo(templates.copy(templates.get_template("SELECT 1")))
        apply_files(url, files)
        judgement = compare_findings(list_expected(), lint_application(Path(name), url))
    for fault in judgement.missed:
        click.echo(f"missed: {' '.join(fault)}")
    for finding in judgement.false:
        click.echo(f"false: {finding.rule}: {finding.message}")
    reached = compute_figures(judgement)
    click.echo(render_table(f"lint --schema: an application of {len(files):,} SQL files", reached))
    sys.exit(0 if all(figure.good for figure in reached) else 1)


if __name__ == "__main__":
    main()
