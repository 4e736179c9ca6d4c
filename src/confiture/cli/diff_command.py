"""``confiture diff``."""

from __future__ import annotations

import click

from confiture.cli.context import read_settings
from confiture.cli.flags import Flags, diff_options
from confiture.cli.outputs import open_outputs
from confiture.streams import lend_streams


@click.command("diff")
@diff_options
@click.argument("before", metavar="V1")
@click.argument("after", metavar="V2")
def command(flags: Flags, before: str, after: str) -> int:
    """Show how the schema differs between two versions.

    Applies the migrations on an embedded server that exists for this command only; needs no database.
    """
    from confiture.api.schema_versions import diff_versions

    with open_outputs(flags) as out:
        with lend_streams():
            difference = diff_versions(read_settings(flags), before, after)
        out.write("version_diff", difference)
    return 0
