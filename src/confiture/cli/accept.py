"""``confiture accept``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from confiture.cli.accepting import Wanted, accepted
from confiture.cli.choosing import loaded
from confiture.cli.connecting import settings_of
from confiture.cli.executing import execute
from confiture.cli.flags import Flags, executing
from confiture.cli.gating import STRICT, Gating, linted
from confiture.cli.progress import Progress
from confiture.cli.rehearsed import rehearsed
from confiture.cli.rehearsing import Rehearsing, with_rehearsing
from confiture.cli.reporting import outputs
from confiture.config import Settings
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.loading import Loaded


@click.command("accept")
@executing
@with_rehearsing
@click.option("--static", is_flag=True, help="What lint finds; needs no server.")
@click.option("--add", is_flag=True, help="Let the file grow.")
@click.option("--prune", is_flag=True, help="Drop what is no longer found.")
@STRICT
def command(flags: Flags, rehearsing: Rehearsing, static: bool, add: bool, prune: bool, strict: bool) -> int:
    """Accept the findings there are: they fail the gate no more."""
    rehearsing.check(rehearses=not static)
    wanted, gating = Wanted(static, add, prune), Gating(strict=strict, afresh=True)
    if static:
        return _from_files(flags, wanted, gating)
    return execute(flags, "dry-run", partial(_work, flags, rehearsing, gating, wanted))


def _from_files(flags: Flags, wanted: Wanted, gating: Gating) -> int:
    with outputs(flags) as out:
        settings = settings_of(flags)
        with loaded(settings, flags) as plugins:
            report = accepted(settings, linted(settings, plugins, gating), wanted)
        out.write("report", report)
    return report.exit_code


def _work(
    flags: Flags,
    rehearsing: Rehearsing,
    gating: Gating,
    wanted: Wanted,
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
) -> Report:
    report = rehearsed(settings, plugins, tell, to=flags.to, rehearsing=rehearsing, gating=gating)
    if report.outcome != "ok":
        return report
    read = linted(settings, plugins, gating) if wanted.prune else None
    return accepted(settings, report, wanted, read)
