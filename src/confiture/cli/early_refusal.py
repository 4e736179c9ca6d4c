"""Write the reports of a command whose own flags cannot be parsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import click

from confiture.cli.flags import Flags
from confiture.cli.stray_url import refuse_stray_url
from confiture.exceptions import UserFault
from confiture.models.report import Mode


class ReportCommand(click.Command):
    """A command that writes every report asked for, also if one of its flags is wrong.

    Attributes:
        mode: The mode of its reports, without ``--dry-run``.
    """

    mode: Mode

    def __init__(self, *args: Any, mode: Mode, **options: Any) -> None:
        super().__init__(*args, **options)
        self.mode = mode

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; write the reports before a wrong one is raised."""
        given = tuple(args)
        try:
            refuse_stray_url(self, given)
            return super().parse_args(ctx, args)
        except (click.UsageError, UserFault) as error:
            if not ctx.resilient_parsing:
                mode: Mode = "dry-run" if "--dry-run" in given else self.mode
                _write_refusal(mode, tuple(_find_outputs(given)), error)
            raise


def _write_refusal(mode: Mode, output: tuple[str, ...], error: Exception) -> None:
    # Imported here, because most commands are never refused so early.
    from confiture.cli.execute import write_refusal
    from confiture.cli.outputs import open_outputs

    # Without plugins: which ones are wanted is in the flags that cannot be parsed. A fault of the outputs
    # must not replace the error.
    with (
        suppress(UserFault, OSError),
        open_outputs(
            Flags(output=output, no_plugins=True), lambda out, _fault: write_refusal(mode, out, error)
        ) as out,
    ):
        write_refusal(mode, out, error)


def _find_outputs(args: Sequence[str]) -> Iterator[str]:
    """Yield the values of ``--output`` in arguments that may not parse."""
    for number, arg in enumerate(args):
        if arg == "--":
            return
        if arg == "--output" and number + 1 < len(args):
            yield args[number + 1]
        elif arg.startswith("--output="):
            yield arg.partition("=")[2]
