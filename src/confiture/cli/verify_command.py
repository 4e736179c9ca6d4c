"""``confiture verify``."""

from __future__ import annotations

import click

from confiture.cli.context import reachable, settings_of
from confiture.cli.flags import Flags, verifying
from confiture.cli.outputs import outputs


@click.command("verify")
@verifying
def command(flags: Flags) -> int:
    """Compare the ledger with the files and the installed plugins.

    Reads only. Ends with 7 where anything disagrees.
    """
    from confiture.ledger.verify import verify

    with outputs(flags) as out:
        with reachable(settings_of(flags)) as settings:
            verification = verify(settings, plugins=not flags.no_plugins)
        out.write("verification", verification)
    return verification.exit_code
