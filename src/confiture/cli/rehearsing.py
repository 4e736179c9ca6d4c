"""Where to rehearse, as ``dry-run`` and ``run --dry-run`` are told it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

if TYPE_CHECKING:
    from confiture.core.places import Place

_IN = click.option(
    "--in",
    "place",
    type=click.Choice(["transaction", "clone", "embedded"]),
    default=None,
    help="Rehearse in one transaction that is rolled back (the default), in a clone of the database on its "
    "server, or in a copy of its schema on a server of our own.",
)
_SAMPLE = click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=None,
    metavar="ROWS",
    help="With --in embedded: copy so many rows of each table too, and all that they refer to.",
)


@frozen
class Rehearsing:
    """Where to rehearse.

    Attributes:
        place: Which of the three places.
        sample_rows: How many rows of each table to copy; ``None``: none.
    """

    place: Place = "transaction"
    sample_rows: int | None = None

    @classmethod
    def given(cls, place: Place | None, sample_rows: int | None) -> Rehearsing:
        """Return what the flags say.

        Raises:
            click.UsageError: They do not go together.
        """
        if sample_rows is not None and place != "embedded":
            raise click.UsageError("--sample copies rows to a server of our own: add --in embedded")
        return cls(place or "transaction", sample_rows)


def rehearsing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command."""
    decorated: Callable[..., Any] = _IN(_SAMPLE(command))
    return decorated
