"""Where to rehearse, as ``dry-run`` and ``run --dry-run`` are told it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
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

_EXPLAIN = click.option(
    "--explain", is_flag=True, help="Ask for the plan of each INSERT, UPDATE, DELETE and MERGE."
)
_REPEAT = click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Rehearse N times, and tell how times vary.",
)


@frozen
class Rehearsing:
    """How to rehearse.

    Attributes:
        place: Which of the three places.
        sample_rows: How many rows of each table to copy; ``None``: none.
        explain: Whether plans are asked for.
        repeat: How many times.
    """

    place: Place | None = None
    sample_rows: int | None = None
    explain: bool = False
    repeat: int | None = None

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
        }
        alone = next((flag for flag, value in given.items() if value), None)
        if alone and not rehearses:
            raise click.UsageError(f"{alone} is for a rehearsal: add --dry-run")
        if self.sample_rows is not None and self.place != "embedded":
            raise click.UsageError("--sample copies rows to a server of our own: add --in embedded")

    @property
    def options(self) -> dict[str, Any]:
        """What ``operations.run`` takes of it."""
        return {
            "place": self.place or "transaction",
            "sample_rows": self.sample_rows,
            "explain": self.explain,
            "repeat": self.repeat or 1,
        }


def with_rehearsing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command, which gets them as one value, ``rehearsing``."""

    @wraps(command)
    def with_flags(
        *flags: Any, place: Place | None, sample: int | None, explain: bool, repeat: int | None, **rest: Any
    ) -> Any:
        return command(*flags, rehearsing=Rehearsing(place, sample, explain, repeat), **rest)

    decorated: Callable[..., Any] = _IN(_SAMPLE(_EXPLAIN(_REPEAT(with_flags))))
    return decorated
