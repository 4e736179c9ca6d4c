"""``confiture estimates``."""

from __future__ import annotations

import click

from confiture.cli.connecting import settings_of
from confiture.cli.flags import Flags, reading
from confiture.cli.reporting import outputs


@click.command("estimates")
@reading
def command(flags: Flags) -> int:
    """Show how good predictions were so far: what runs took, beside what was said before.

    Reads a file beside the configuration; the database is not asked.
    """
    from confiture.core.outcomes import read_calibration

    with outputs(flags) as out:
        out.write("calibration", read_calibration(settings_of(flags)))
    return 0
