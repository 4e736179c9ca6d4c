"""``confiture run``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
from attrs import evolve

from confiture.cli.executing import execute
from confiture.cli.explaining import shortened
from confiture.cli.flags import Flags, executing
from confiture.cli.progress import Progress
from confiture.cli.rehearsing import Rehearsing, with_rehearsing
from confiture.config import Settings
from confiture.exceptions import ConfitureError
from confiture.models.report import Fault, Report

if TYPE_CHECKING:
    from confiture.core.operations import Judge
    from confiture.plugins.loading import Loaded


@click.command("run")
@executing
@click.option("--dry-run", is_flag=True, help="Rehearse: run it all, keep nothing.")
@with_rehearsing
@click.option("--dump", is_flag=True, help="Then write schema.sql, as confiture dump does.")
def command(flags: Flags, dry_run: bool, rehearsing: Rehearsing, dump: bool) -> int:
    """Apply the pending migrations."""
    if dry_run and dump:
        raise click.UsageError("--dump and --dry-run cannot both be given: a rehearsal keeps nothing")
    rehearsing.check(dry_run=dry_run)
    return apply(flags, rehearsing if dry_run else None, dump=dump)


def apply(flags: Flags, rehearsing: Rehearsing | None, *, dump: bool = False) -> int:
    """Run or rehearse what is pending, and return the exit code."""
    dry_run = rehearsing is not None
    work = partial(_run, to=flags.to, rehearsing=rehearsing, dump=dump)
    return execute(flags, "dry-run" if dry_run else "run", work)


def _run(
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
    *,
    to: str | None,
    rehearsing: Rehearsing | None,
    dump: bool,
) -> Report:
    from confiture.core.operations import run

    if dump:
        _check_pg_dump(settings)
    report = run(
        settings,
        to=to,
        plugins=plugins,
        dry_run=rehearsing is not None,
        on_progress=tell,
        watcher=tell,
        judge=_judge(settings, plugins) if rehearsing else None,
        **(rehearsing.options if rehearsing else {}),
    )
    return _dumped(settings, report) if dump and not report.exit_code else report


def _judge(settings: Settings, plugins: tuple[Loaded, ...]) -> Judge:
    from confiture.rules.gathering import gathered
    from confiture.rules.judging import open_book
    from confiture.rules.rehearsed import judge_for

    return judge_for(settings, open_book(gathered(plugins)))


def _check_pg_dump(settings: Settings) -> None:
    """Refuse before anything is applied what would be refused afterwards."""
    from confiture.core.connecting import connect
    from confiture.core.pg_dump import program_for

    with connect(settings) as conn:
        program_for(conn.info.server_version // 10000)


def _dumped(settings: Settings, report: Report) -> Report:
    """Add the dump to the report; where it fails, what was applied stays applied."""
    from confiture.core.dumping import write_schema

    try:
        dump = write_schema(settings)
    except ConfitureError as error:
        fault = Fault(error.message, hint=error.hint)
        return evolve(report, exit_code=error.exit_code, fault=fault)
    word = "wrote" if dump.changed else "not changed:"
    return evolve(report, notes=(*report.notes, f"{word} {shortened(dump.file)}"))
