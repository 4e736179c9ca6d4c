"""``confiture estimates``."""

from __future__ import annotations

import click

from confiture.cli.context import read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs


@click.command("estimates")
@database_options
def command(flags: Flags) -> int:
    """Show how accurate predictions have been.

    Compares predicted with actual times, from a file in the configuration's folder.
    """
    from confiture.estimate.prediction_store import read_calibration

    with open_outputs(flags) as out:
        out.write("calibration", read_calibration(read_settings(flags)))
    return 0
