"""``confiture drift``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs
from confiture.streams import lend_streams

if TYPE_CHECKING:
    from confiture.api.built_schema import BuildPlace
    from confiture.models.schema import DriftBasis


@click.command("drift")
@database_options
@click.option(
    "--against",
    type=click.Choice(["recorded", "migrations"]),
    help="Compare with what the runs recorded, or with what the applied migrations make.",
)
@click.option(
    "--in",
    "place",
    type=click.Choice(["embedded", "server"]),
    default="embedded",
    help="Where the migrations are applied: an embedded server, or an empty database on the same server.",
)
@click.option("--exit-code", is_flag=True, help="Exit 1 if there is drift.")
def command(flags: Flags, against: DriftBasis | None, place: BuildPlace, exit_code: bool) -> int:
    """Compare the live schema with the recorded one, or with what the migrations make.

    Without --against, compares with the recorded schema, or with the migrations if none is recorded.
    Prints a unified diff per object.
    """
    from confiture.api.schema_versions import find_drift

    with open_outputs(flags) as out:
        with lend_streams(), open_server(read_settings(flags)) as settings:
            drift = find_drift(settings, against, place)
        out.write("drift", drift)
    return int(exit_code and bool(drift.differences))
