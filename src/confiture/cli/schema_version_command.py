"""``confiture schema-version``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs


@click.command("schema-version")
@database_options
@click.option(
    "--at", metavar="TIME|VERSION", help="Print what was recorded at this time (UTC) or after this version."
)
def command(flags: Flags, at: str | None) -> int:
    """Print the fingerprint of the schema, now or as it was recorded.

    It is the same for the same schema on every server of a major version.
    """
    from confiture.api.schema_versions import read_schema_version

    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            version = read_schema_version(settings, at)
        out.write("schema_version", version)
    return 0
