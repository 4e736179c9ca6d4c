"""Define the flags that choose where and how to rehearse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from confiture.cli.flags import collect_options, find_given, parse_seconds_option

if TYPE_CHECKING:
    from confiture.estimate.rehearse_sizes import Production
    from confiture.rehearsal.copies import RehearsalTarget


_IN = click.option(
    "--in",
    "place",
    type=click.Choice(["transaction", "clone", "embedded"]),
    default=None,
    help="Rehearse in one transaction that is rolled back (the default), in a clone of the database on its "
    "server, or in a copy of its schema on the embedded server.",
)
_SAMPLE = click.option(
    "--sample",
    "sample_rows",
    type=click.IntRange(min=1),
    default=None,
    metavar="ROWS",
    help="With --in embedded, also copy ROWS rows per table and every row they reference.",
)

_EXPLAIN = click.option(
    "--explain", is_flag=True, help="Include the query plan of each INSERT, UPDATE, DELETE and MERGE."
)
_REPEAT = click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Rehearse N times and show how the times vary.",
)
_PRODUCTION = click.option(
    "--production",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Estimate the time in production, from a file written there by `confiture stats export`.",
)
_BUDGET = click.option(
    "--estimate-budget",
    "budget_s",
    default=None,
    metavar="TIME",
    callback=parse_seconds_option,
    help="With --production and --in clone or embedded, rehearse at several sizes for up to TIME (60s).",
)


@frozen
class RehearsalOptions:
    """How to rehearse.

    Attributes:
        place: Which of the three places.
        sample_rows: How many rows of each table to copy; ``None``: none.
        explain: True to include query plans.
        repeat: How many times.
        production: The file of production's statistics; ``None`` without estimates.
        budget_s: For rehearsing at several sizes, in seconds.
    """

    place: RehearsalTarget | None = None
    sample_rows: int | None = None
    explain: bool = False
    repeat: int | None = None
    production: Path | None = None
    budget_s: float | None = None

    def check(self, *, rehearses: bool) -> None:
        """Refuse flags that do not go together.

        Raises:
            click.UsageError: They do not.
        """
        given = {
            "--in": self.place,
            "--sample": self.sample_rows,
            "--explain": self.explain,
            "--repeat": self.repeat,
            "--production": self.production,
            "--estimate-budget": self.budget_s is not None,
        }
        alone = find_given(given)
        if alone and not rehearses:
            raise click.UsageError(f"{alone} is for a rehearsal: add --dry-run")
        if self.sample_rows is not None and self.place != "embedded":
            raise click.UsageError("--sample copies rows to the embedded server: add --in embedded")
        if self.budget_s is not None and not self.production:
            raise click.UsageError("--estimate-budget is for estimates: add --production FILE")

    @property
    def run_arguments(self) -> dict[str, Any]:
        """The keyword arguments for ``operations.run``.

        Raises:
            StatisticsFault: The file of production's statistics cannot be used.
        """
        return {
            "production": self._read_production(),
            "place": self.place or "transaction",
            "sample_rows": self.sample_rows,
            "explain": self.explain,
            "repeat": self.repeat or 1,
        }

    def _read_production(self) -> Production | None:
        if self.production is None:
            return None
        from confiture.estimate.rehearse_sizes import BUDGET_S, Production

        return Production.read(self.production, BUDGET_S if self.budget_s is None else self.budget_s)


add_rehearsal_flags = collect_options(
    RehearsalOptions, "rehearsal_options", _IN, _SAMPLE, _EXPLAIN, _REPEAT, _PRODUCTION, _BUDGET
)
"""Add the flags to a command, which gets them as one value, ``rehearsal_options``."""
