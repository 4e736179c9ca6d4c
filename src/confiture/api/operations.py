"""Read the status, make a plan, run or rehearse it, and undo migrations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.api.execution import Executor, Judge, ProgressCallback
from confiture.config.settings import Settings
from confiture.ledger.table import Ledger
from confiture.migrations.planner import determine_statuses, find_script, select_pending, select_to_undo
from confiture.migrations.version import parse_version
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import MigrationFile
from confiture.models.plan import MigrationStatus
from confiture.postgres.connect import read_server_version
from confiture.sources.read_migrations import open_migrations

if TYPE_CHECKING:
    from typing import Any

    from confiture.engine.blockers import ProgressListener
    from confiture.estimate.rehearse_sizes import Production
    from confiture.migrations.prepare import PreparedMigration
    from confiture.models.plan import Plan
    from confiture.models.report import Report
    from confiture.plugins.load import LoadedPlugin
    from confiture.rehearsal.copies import RehearsalTarget


def read_status(settings: Settings) -> tuple[MigrationStatus, ...]:
    """Return the state of every migration. Needs only read rights and takes no lock."""
    with open_migrations(settings) as opened:
        return determine_statuses(opened.migrations, Ledger(settings.schema).read(opened.conn))


def make_plan(settings: Settings, *, to: str | None = None, plugins: Sequence[LoadedPlugin] = ()) -> Plan:
    """Return what a run would do, in order. Needs only read rights and takes no lock.

    Raises:
        LedgerFault: A run would refuse: the ledger and the files disagree, or a migration is unfinished and a
            person must say how it goes on.
    """
    from confiture.ledger.resume import skip_finished
    from confiture.migrations.prepare import add_records, prepare
    from confiture.models.plan import Plan
    from confiture.plugins.order import list_order

    with open_migrations(settings) as opened:
        conn, scripts = opened.conn, opened.migrations
        entries = Ledger(settings.schema).read(conn)
        version = read_server_version(conn)
        chosen = select_pending(scripts, entries, to=to, out_of_order=settings.allow_out_of_order)
        works = skip_finished(conn, add_records(prepare(chosen, "forward"), entries))
    steps = tuple(_plan_step(work) for work in works)
    return Plan(server_version=version, steps=steps, hooks=list_order(tuple(plugins)))


def _plan_step(work: PreparedMigration) -> Any:
    from confiture.models.plan import PlannedStep

    script = work.script
    return PlannedStep(
        version=work.version,
        name=work.name,
        file=str(work.file),
        kind="sql" if script else "python",
        transactional=script.transactional if script else work.transactional,
        statements=tuple((statement.line, statement.sql) for statement in script.statements)
        if script
        else (),
    )


def run(
    settings: Settings,
    *,
    to: str | None = None,
    plugins: Sequence[LoadedPlugin] = (),
    dry_run: bool = False,
    on_progress: ProgressCallback | None = None,
    watcher: ProgressListener | None = None,
    place: RehearsalTarget = "transaction",
    sample_rows: int | None = None,
    explain: bool = False,
    repeat: int = 1,
    judge: Judge | None = None,
    production: Production | None = None,
    only: Collection[str] | None = None,
) -> Report:
    """Apply the pending migrations, or rehearse them in ``place``; stop at the first failure.

    A rehearsal can ``explain`` its DML, ``repeat`` to measure how times vary, pass its report to ``judge``,
    and estimate the times in ``production``. With ``only``, other versions than these stay pending.

    Raises:
        ConfitureError: Nothing was started.
    """

    def choose(
        scripts: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
    ) -> tuple[MigrationFile, ...]:
        pending = select_pending(scripts, entries, to=to, out_of_order=settings.allow_out_of_order)
        return tuple(script for script in pending if only is None or script.version in only)

    executor = Executor(
        settings,
        "dry-run" if dry_run else "run",
        choose,
        tuple(plugins),
        on_progress or _ignore_progress,
        watcher,
        judge=judge,
    )
    if not dry_run:
        from confiture.estimate.prediction_store import run_and_keep_outcomes

        return run_and_keep_outcomes(settings, executor.execute)
    rehearsal = evolve(executor, explain=explain)
    if production is None:
        return rehearsal.rehearse(place, sample_rows, repeat).report
    return _rehearse_with_estimates(rehearsal, production, place, sample_rows, repeat)


def _rehearse_with_estimates(
    executor: Executor, production: Production, place: RehearsalTarget, sample_rows: int | None, repeat: int
) -> Report:
    from confiture.estimate.rehearse_sizes import rehearse_with_estimates

    planner = production.build_planner()
    planning = evolve(executor, production_planner=planner)
    rehearse = partial(planning.rehearse, with_statistics=True)
    report = rehearse_with_estimates(executor.settings, rehearse, production, place, sample_rows, repeat)
    return evolve(report, notes=(*report.notes, *planner.describe_refusal()))


def undo(
    settings: Settings,
    *,
    steps: int | None = None,
    to: str | None = None,
    plugins: Sequence[LoadedPlugin] = (),
    on_progress: ProgressCallback | None = None,
    watcher: ProgressListener | None = None,
) -> Report:
    """Undo the last ``steps`` applied migrations, or all above ``to``.

    Raises:
        ConfitureError: Nothing was started.
    """

    def choose(
        scripts: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
    ) -> tuple[MigrationFile, ...]:
        if to is not None:
            find_script(scripts, to)
        return select_to_undo(scripts, entries, steps=steps, to=to)

    return Executor(
        settings, "down", choose, tuple(plugins), on_progress or _ignore_progress, watcher, ("backward",)
    ).execute()


def redo(
    settings: Settings,
    *,
    plugins: Sequence[LoadedPlugin] = (),
    on_progress: ProgressCallback | None = None,
    watcher: ProgressListener | None = None,
) -> Report:
    """Undo the last applied migration and apply it again, under one lock.

    Raises:
        ConfitureError: Nothing was started.
    """

    def choose(
        scripts: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
    ) -> tuple[MigrationFile, ...]:
        chosen = select_to_undo(scripts, entries, steps=1)
        again = {parse_version(script.version) for script in chosen}
        rest = tuple(entry for entry in entries if parse_version(entry.version) not in again)
        # Raise now what would refuse to apply it again, while nothing has been undone.
        select_pending(scripts, rest, out_of_order=settings.allow_out_of_order)
        return chosen

    return Executor(
        settings,
        "run",
        choose,
        tuple(plugins),
        on_progress or _ignore_progress,
        watcher,
        ("backward", "forward"),
    ).execute()


def _ignore_progress(_: str) -> None:
    return None
