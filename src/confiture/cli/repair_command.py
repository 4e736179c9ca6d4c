"""``confiture repair``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.error_messages import say_line
from confiture.cli.flags import Flags, ledger_options
from confiture.cli.outputs import open_outputs


@click.command("repair")
@ledger_options
@click.argument("version", metavar="[V]", required=False)
@click.option("--accept-changed", metavar="V", help="Accept the current file of an applied migration.")
@click.option("--forget", metavar="V", help="Remove a missing or unfinished migration from the ledger.")
@click.option("--done", metavar="V:LINE", help="Record the statement that was begun there as done.")
@click.option("--again", metavar="V:LINE", help="Let the next run send that statement again.")
def command(
    flags: Flags,
    version: str | None,
    accept_changed: str | None,
    forget: str | None,
    done: str | None,
    again: str | None,
) -> int:
    """Show unfinished migrations and the exact next command.

    Without a flag, changes nothing.
    """
    if sum(name is not None for name in (version, accept_changed, forget, done, again)) > 1:
        raise click.UsageError(
            "give one of V, --accept-changed V, --forget V, --done V:LINE and --again V:LINE"
        )
    from confiture.ledger import repair as repairing
    from confiture.ledger.answer import record_answer
    from confiture.postgres.signals import raise_on_signals

    with open_outputs(flags) as out:
        with raise_on_signals(say_line), open_server(read_settings(flags)) as settings:
            if accept_changed is not None:
                repair = repairing.accept_changed(settings, accept_changed)
            elif forget is not None:
                repair = repairing.forget(settings, forget)
            elif (place := done if done is not None else again) is not None:
                repair = record_answer(settings, place, done=done is not None)
            else:
                repair = repairing.read_repair(settings, version)
        out.write("repair", repair)
    return 0
