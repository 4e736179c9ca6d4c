"""Define the flags that choose where and how to rehearse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from confiture.cli.flags import collect_options, find_given, parse_seconds_option

if TYPE_CHECKING:
    from confiture.config.settings import Settings
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
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[FILE|URL]",
    help="Estimate the time in production, from a file of `confiture stats export` or by reading the same "
    "from URL; without either, from `stats` of [env.production].",
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
        place: ``transaction``, ``clone`` or ``embedded``; ``None`` for the default.
        sample_rows: The number of rows to copy per table; ``None`` to copy none.
        explain: True to include query plans.
        repeat: The number of rehearsals; ``None`` for one.
        production: The file or the URL of production's statistics, empty for the configured one; ``None``
            to make no estimates.
        budget_s: The time for rehearsing at several sizes, in seconds; ``None`` for the default.
    """

    place: RehearsalTarget | None = None
    sample_rows: int | None = None
    explain: bool = False
    repeat: int | None = None
    production: str | None = None
    budget_s: float | None = None

    def check(self, *, rehearses: bool) -> None:
        """Refuse flags that cannot be combined.

        Raises:
            click.UsageError: A flag needs another one that was not given.
        """
        given = {
            "--in": self.place,
            "--sample": self.sample_rows,
            "--explain": self.explain,
            "--repeat": self.repeat,
            "--production": self.production is not None,
            "--estimate-budget": self.budget_s is not None,
        }
        alone = find_given(given)
        if alone and not rehearses:
            raise click.UsageError(f"{alone} is for a rehearsal: add --dry-run")
        if self.sample_rows is not None and self.place != "embedded":
            raise click.UsageError("--sample copies rows to the embedded server: add --in embedded")
        if self.budget_s is not None and self.production is None:
            raise click.UsageError("--estimate-budget is for estimates: add --production")

    def build_run_arguments(self, settings: Settings) -> dict[str, Any]:
        """Return the keyword arguments for ``operations.run``.

        Raises:
            ConfitureError: Production's statistics cannot be read.
        """
        return {
            "production": self._find_production(settings),
            "place": self.place or "transaction",
            "sample_rows": self.sample_rows,
            "explain": self.explain,
            "repeat": self.repeat or 1,
        }

    def _find_production(self, settings: Settings) -> Production | None:
        if self.production is None:
            return None
        from confiture.estimate.rehearse_sizes import BUDGET_S, Production

        return Production.find(
            settings, self.production, BUDGET_S if self.budget_s is None else self.budget_s
        )


add_rehearsal_flags = collect_options(
    RehearsalOptions, "rehearsal_options", _IN, _SAMPLE, _EXPLAIN, _REPEAT, _PRODUCTION, _BUDGET
)
"""Add the flags to a command, which gets them as one value, ``rehearsal_options``."""
