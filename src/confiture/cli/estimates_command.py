"""``confiture estimates``."""

from __future__ import annotations

import click

from confiture.cli.context import settings_of
from confiture.cli.flags import Flags, reading
from confiture.cli.outputs import outputs


@click.command("estimates")
@reading
def command(flags: Flags) -> int:
    """Show how good predictions were so far.

    What runs took, beside what was said before: read from a file beside the configuration.
    """
    from confiture.estimate.prediction_store import read_calibration

    with outputs(flags) as out:
        out.write("calibration", read_calibration(settings_of(flags)))
    return 0
