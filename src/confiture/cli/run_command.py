"""``confiture run``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
from attrs import evolve

from confiture.cli.error_messages import shortened
from confiture.cli.execute import execute, rehearsed
from confiture.cli.flags import Flags, executing
from confiture.cli.gate_flags import Gating, with_gating
from confiture.cli.progress import Progress
from confiture.cli.rehearsal_flags import Rehearsing, with_rehearsing
from confiture.config.settings import Settings
from confiture.exceptions import ConfitureError, SourceFault, UsageFault
from confiture.models.report import Fault, Report

if TYPE_CHECKING:
    from confiture.plugins.load import Loaded


@click.command("run")
@executing
@click.option("--dry-run", is_flag=True, help="Rehearse: run it all, keep nothing.")
@with_rehearsing
@click.option("--gate", is_flag=True, help="Rehearse first, and apply only what the gate lets pass.")
@with_gating
@click.option("--dump", is_flag=True, help="Then write schema.sql, as confiture dump does.")
def command(
    flags: Flags, dry_run: bool, rehearsing: Rehearsing, gate: bool, gating: Gating, dump: bool
) -> int:
    """Apply the pending migrations."""
    if dry_run and dump:
        raise click.UsageError("--dump and --dry-run cannot both be given: a rehearsal keeps nothing")
    if gate and gating.no_gate:
        raise click.UsageError("--gate and --no-gate cannot both be given")
    rehearsing.check(rehearses=dry_run or gate)
    gating.check(judges=dry_run or gate)
    if dry_run:
        return rehearse(flags, rehearsing, gating)
    first = partial(rehearsed, to=flags.to, rehearsing=rehearsing, gating=gating) if gate else None
    return execute(flags, "run", partial(_run, to=flags.to, dump=dump, first=first))


def rehearse(flags: Flags, rehearsing: Rehearsing, gating: Gating) -> int:
    """Rehearse and judge what is pending, and return the exit code."""
    work = partial(rehearsed, to=flags.to, rehearsing=rehearsing, gating=gating)
    return execute(flags, "dry-run", work)


def _run(
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
    *,
    to: str | None,
    dump: bool,
    first: partial[Report] | None,
) -> Report:
    if dump:
        _check_pg_dump(settings)
    if first is None:
        report = _applied(settings, plugins, tell, to)
    else:
        report = _after(first, settings, plugins, tell, to)
    return _dumped(settings, report) if dump and not report.exit_code else report


def _after(
    first: partial[Report],
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
    to: str | None,
) -> Report:
    """Apply what the gate lets pass, and exactly that."""
    before = _files(settings)
    rehearsal = first(settings, plugins, tell)
    if rehearsal.exit_code:
        return evolve(rehearsal, notes=(*rehearsal.notes, "nothing was applied"))
    if not rehearsal.migrations:
        return evolve(rehearsal, mode="run")
    if _files(settings) != before:
        raise UsageFault(
            "the migrations changed while they were rehearsed: nothing was applied", hint="run it again"
        )
    report = _applied(settings, plugins, tell, to)
    return evolve(report, findings=rehearsal.findings, verdict=rehearsal.verdict)


def _applied(
    settings: Settings, plugins: tuple[Loaded, ...], tell: Progress | None, to: str | None
) -> Report:
    from confiture.api.operations import run

    return run(settings, to=to, plugins=plugins, on_progress=tell, watcher=tell)


def _files(settings: Settings) -> frozenset[tuple[str, str]]:
    """Return what would be run, to see whether it is still what was judged."""
    from confiture.migrations.folder import read_folder

    try:
        return frozenset((each.version, each.checksum) for each in read_folder(settings.migrations))
    except SourceFault:
        # Whether that is an error is for the rehearsal to say.
        return frozenset()


def _check_pg_dump(settings: Settings) -> None:
    """Refuse before anything is applied what would be refused afterwards."""
    from confiture.postgres.connect import connected
    from confiture.postgres.dump import program_for

    with connected(settings) as conn:
        program_for(conn.info.server_version // 10000)


def _dumped(settings: Settings, report: Report) -> Report:
    """Add the dump to the report; where it fails, what was applied stays applied."""
    from confiture.postgres.dump import write_schema

    try:
        dump = write_schema(settings)
    except ConfitureError as error:
        fault = Fault(error.message, hint=error.hint)
        return evolve(report, exit_code=error.exit_code, fault=fault)
    word = "wrote" if dump.changed else "not changed:"
    return evolve(report, notes=(*report.notes, f"{word} {shortened(dump.file)}"))
