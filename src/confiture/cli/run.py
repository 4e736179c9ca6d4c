"""``confiture run``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from confiture.cli.executing import execute
from confiture.cli.flags import Flags, executing
from confiture.cli.progress import Say
from confiture.config import Settings
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.loading import Loaded


@click.command("run")
@executing
@click.option("--dry-run", is_flag=True, help="Rehearse: run it all, keep nothing.")
def command(flags: Flags, dry_run: bool) -> int:
    """Apply the pending migrations."""
    return apply(flags, dry_run=dry_run)


def apply(flags: Flags, *, dry_run: bool) -> int:
    """Run or rehearse what is pending, and return the exit code."""
    return execute(flags, "dry-run" if dry_run else "run", partial(_run, to=flags.to, dry_run=dry_run))


def _run(
    settings: Settings, plugins: tuple[Loaded, ...], say: Say | None, *, to: str | None, dry_run: bool
) -> Report:
    from confiture.core.operations import run

    return run(settings, to=to, plugins=plugins, dry_run=dry_run, on_progress=say)
