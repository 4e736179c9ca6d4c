"""``confiture schema-version``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.error_messages import say_line
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs
from confiture.escape import escape_control


@click.command("schema-version")
@database_options
@click.option(
    "--at", metavar="TIME|VERSION", help="Print what was recorded at this time (UTC) or after this version."
)
def command(flags: Flags, at: str | None) -> int:
    """Print the fingerprint of the schema, now or as it was recorded.

    It is the same for the same schema on every server of a major version. A plugin may add the versions of
    objects, below the fingerprint.
    """
    from confiture.api.schema_versions import read_schema_version

    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            version = read_schema_version(settings, at)
        out.write("schema_version", version)
        for warning in version.warnings:
            say_line(f"warning: {escape_control(warning)}")
    return 0
