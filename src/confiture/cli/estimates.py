"""``confiture estimates``."""

from __future__ import annotations

import click

from confiture.cli.connecting import settings_of
from confiture.cli.flags import Flags, reading
from confiture.cli.reporting import outputs


@click.command("estimates")
@reading
def command(flags: Flags) -> int:
    """Show how good predictions were so far.

    What runs took, beside what was said before: read from a file beside the configuration.
    """
    from confiture.core.outcomes import read_calibration

    with outputs(flags) as out:
        out.write("calibration", read_calibration(settings_of(flags)))
    return 0
