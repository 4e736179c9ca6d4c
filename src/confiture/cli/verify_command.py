"""``confiture verify``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, verify_options
from confiture.cli.outputs import open_outputs


@click.command("verify")
@verify_options
def command(flags: Flags) -> int:
    """Compare the ledger with the files and the installed plugins.

    Read-only. Exits with 7 if anything disagrees.
    """
    from confiture.ledger.verify import verify

    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            verification = verify(settings, plugins=not flags.no_plugins)
        out.write("verification", verification)
    return verification.exit_code
