"""Run one command from start to finish.

Selects migrations, takes the migration lock, applies or rehearses them and builds the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from confiture.api.kept_report import KeptReport, keep_report
from confiture.config.settings import Settings
from confiture.engine.failures import build_outer_fault, choose_exit_code
from confiture.exceptions import ConfigurationFault
from confiture.ledger.table import Ledger, LedgerMirror
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Direction, MigrationFile
from confiture.postgres.connect import connect, count_connections, open_connection, read_server_version
from confiture.sources.read_migrations import OpenedMigrations, open_migrations

if TYPE_CHECKING:
    from typing import Any

    from psycopg import Connection

    from confiture.engine.blockers import ProgressListener
    from confiture.engine.runner import MigrationResult, Runner
    from confiture.estimate.rehearsal_result import RehearsalResult
    from confiture.estimate.statistics import Statistics
    from confiture.migrations.prepare import PreparedMigration
    from confiture.models.report import Fault, Mode, Outcome, PluginUse, Report
    from confiture.plugins.load import LoadedPlugin
    from confiture.rehearsal.copies import DatabaseCopy, RehearsalTarget
    from confiture.rehearsal.residue import ResidueSnapshot
    from confiture.rehearsal.trace.plan_comparison import ProductionPlanner

ProgressCallback = Callable[[str], None]
PrepareSession = Callable[["Settings", "Connection[Any]", "tuple[PreparedMigration, ...]"], None]
Judge = Callable[["Connection[Any]", "Report", "tuple[PreparedMigration, ...]"], "Report"]


@frozen
class Executor:
    """Runs one command from start to finish: selects, locks, applies or rehearses, and reports.

    Attributes:
        settings: The settings, with the database and the migrations folder.
        mode: The mode in the report.
        choose: Selects the migrations to run from all migrations and the ledger's entries.
        plugins: The plugins whose hooks run.
        report_progress: Receives a line of text for each migration that has ended.
        listener: Receives a report for each, and may ask what is running now.
        directions: All selected migrations run in the first direction, then in the next.
        copy: The copy to rehearse in; ``None`` for the database itself.
        explain: True to run EXPLAIN for DML.
        production_planner: Plans a rehearsal's statements as production would; ``None`` for no estimates.
        judge: Adds the gate's findings to the report.
        prepare_session: Called with the session before anything runs in it, if there is something to run.
        mirror: Records in another tool's ledger what is applied; ``None`` for nothing.
        ledger: The ledger that records them.
    """

    settings: Settings
    mode: Mode
    choose: Callable[[tuple[MigrationFile, ...], tuple[LedgerEntry, ...]], tuple[MigrationFile, ...]]
    plugins: tuple[LoadedPlugin, ...]
    report_progress: ProgressCallback
    listener: ProgressListener | None = None
    directions: tuple[Direction, ...] = ("forward",)
    copy: DatabaseCopy | None = None
    explain: bool = False
    production_planner: ProductionPlanner | None = None
    judge: Judge | None = None
    prepare_session: PrepareSession | None = None
    mirror: LedgerMirror | None = None
    ledger: Ledger = field(init=False)

    @ledger.default
    def _make_ledger(self) -> Ledger:
        return Ledger(self.settings.schema, self.mirror)

    def rehearse(
        self, place: RehearsalTarget, sample_rows: int | None, repeat: int, *, with_statistics: bool = False
    ) -> RehearsalResult:
        """Rehearse ``repeat`` times.

        Args:
            place: Where to rehearse.
            sample_rows: Rows to copy per table; ``None`` for all, or for none in an empty copy.
            repeat: The number of rehearsals.
            with_statistics: True to export the database's statistics before the first rehearsal.
        """
        from confiture.estimate.rehearsal_result import RehearsalResult
        from confiture.rehearsal.repeat import repeat_rehearsal

        statistics: list[Statistics] = []
        reports: list[Report] = []

        def take_statistics(
            settings: Settings, conn: Connection[Any], works: tuple[PreparedMigration, ...]
        ) -> None:
            from confiture.estimate.count_rows import count_rows, vacuum_tables
            from confiture.estimate.export import export

            if place == "clone":
                vacuum_tables(conn, works)
            # Every session counts, because that also maps the tables' pages into its process.
            counted = count_rows(conn, works)
            # Every repetition starts from the same rows, so they are exported once.
            if not statistics:
                statistics.append(counted.correct(export(settings, sampled_s=0.0)))

        def rehearse_once() -> Report:
            executor = evolve(self, prepare_session=take_statistics) if with_statistics else self
            report = (
                executor.rehearse_in_copy(place, sample_rows)
                if place != "transaction"
                else executor.execute()
            )
            reports.append(report)
            return report

        began = time.perf_counter()
        report = repeat_rehearsal(rehearse_once, repeat)
        report = evolve(
            report,
            elapsed_ms=(time.perf_counter() - began) * 1000,
            in_transaction=place == "transaction",
        )
        return RehearsalResult(report, tuple(reports), statistics[0] if statistics else None)

    def rehearse_in_copy(self, place: RehearsalTarget, sample_rows: int | None) -> Report:
        """Rehearse in a copy of the database, where each migration is committed."""
        from confiture.rehearsal.copies import add_copy_notes, note_missing_rows, open_copy

        with open_migrations(self.settings, direct=True) as opened:
            conn, version = opened.conn, read_server_version(opened.conn)
            works = self._prepare_migrations(conn, opened)
            # Refused here as well: a copy lacks what a run would refuse, such as invalid indexes.
            self._skip_finished(conn, works)
        if not works:
            return self._make_report(version, ())

        # Our connection is closed by now: PostgreSQL copies a database only while nobody is connected to it.
        # The copy need not have the record of what was adopted.
        def rehearse(kept: KeptReport) -> Report:
            with open_copy(opened.settings, place, works, sample_rows) as copy:
                executor = evolve(self, settings=copy.settings, copy=copy)
                report = kept.keep(executor.execute(works))
                return kept.keep(add_copy_notes(report, copy))

        report = keep_report(rehearse)
        if place == "embedded" and sample_rows is None:
            report = note_missing_rows(report)
        return evolve(report, server_version=version)

    def execute(self, ready: tuple[PreparedMigration, ...] = ()) -> Report:
        """Apply or rehearse the selected migrations; those in ``ready`` are not parsed again.

        Raises:
            ConfitureError: Nothing was started.
        """
        began = time.perf_counter()
        report = keep_report(partial(self._execute, ready))
        return evolve(report, elapsed_ms=(time.perf_counter() - began) * 1000)

    def _execute(self, ready: tuple[PreparedMigration, ...], kept: KeptReport) -> Report:
        with open_migrations(self.settings) as opened:
            executor = self if self.copy else evolve(self, mirror=opened.mirror)
            return executor.execute_opened(opened, ready, kept)

    def execute_opened(
        self, opened: OpenedMigrations, ready: tuple[PreparedMigration, ...], kept: KeptReport
    ) -> Report:
        """Apply or rehearse the selected ones of the migrations, on their connection."""
        conn, version = opened.conn, read_server_version(opened.conn)
        # Before taking the lock: faults are reported without waiting for it, and a run with nothing to do
        # does not need it.
        works = self._prepare_migrations(conn, opened, ready)
        if not works:
            return self._make_report(version, ())
        with (
            nullcontext() if self.copy else count_connections(self._count_connections(works)),
            self._open_session(conn, works) as run_conn,
            self._open_prepared_runner(run_conn, works) as runner,
        ):
            # Another run may have applied some of them while we waited for the lock.
            works = self._prepare_migrations(run_conn, opened, works)
            self._refuse_pooler(runner, works)
            if (self.mode != "dry-run" or self.copy) and works:
                self.ledger.create(run_conn)
            if self.mode == "dry-run" and not self.copy:
                works = self._skip_finished(run_conn, works)
            else:
                # Refuses a transactional migration of which statements are recorded: it was no-transaction
                # before. One that still is, is checked when it begins.
                self._skip_finished(run_conn, tuple(work for work in works if work.transactional))
            before = self._take_snapshot(run_conn, works)
            report = kept.keep(self._make_report(version, *self._run_all(runner, works), works))
            report = kept.keep(_add_warnings(report, runner))
            report = kept.keep(self._add_residue(run_conn, before, report))
            return self.judge(run_conn, report, works) if self.judge else report

    def _skip_finished(
        self, conn: Connection[Any], works: tuple[PreparedMigration, ...]
    ) -> tuple[PreparedMigration, ...]:
        """Return the migrations without what a run would not send again; refuse where it would refuse."""
        if not any(work.recorded for work in works):
            return works
        from confiture.ledger.resume import skip_finished

        return skip_finished(conn, works)

    def _take_snapshot(
        self, conn: Connection[Any], works: tuple[PreparedMigration, ...]
    ) -> ResidueSnapshot | None:
        """Return the state that a rollback does not restore; ``None`` if there is nothing to rehearse."""
        if self.mode != "dry-run" or self.copy or not works:
            return None
        from confiture.rehearsal.residue import take_residue_snapshot

        return take_residue_snapshot(conn, self.settings.schema)

    def _add_residue(self, conn: Connection[Any], before: ResidueSnapshot | None, report: Report) -> Report:
        if before is None:
            return report
        from confiture.rehearsal.notes import collect_notes
        from confiture.rehearsal.residue import describe_comparison, find_residue, take_residue_snapshot

        after = take_residue_snapshot(conn, self.settings.schema)
        notes = (*report.notes, *collect_notes(report.migrations), *describe_comparison(before, after))
        return evolve(report, residue=find_residue(before, after), notes=notes)

    def _count_connections(self, works: tuple[PreparedMigration, ...]) -> int:
        """Return how many connections are open at the same time: ours, and the one that holds the lock."""
        if all(work.transactional for work in works):
            return 2
        # One watches what blocks CONCURRENTLY, and one more goes past the pooler.
        return 4 if self.settings.direct_url else 3

    @contextmanager
    def _open_session(
        self, conn: Connection[Any], works: tuple[PreparedMigration, ...]
    ) -> Iterator[Connection[Any]]:
        """Yield the connection to run on: one past the pooler if a no-transaction migration needs a session.

        Session settings such as lock_timeout do not survive in a transaction pooler between statements.
        """
        if self.settings.direct_url and not all(work.transactional for work in works):
            with open_connection(self.settings, direct=True) as direct:
                yield direct
        else:
            yield conn

    def _prepare_migrations(
        self,
        conn: Connection[Any],
        opened: OpenedMigrations,
        ready: tuple[PreparedMigration, ...] = (),
    ) -> tuple[PreparedMigration, ...]:
        """Return the selected migrations, in order; those in ``ready`` are not parsed again."""
        from confiture.ledger.unadopted import refuse_unadopted
        from confiture.migrations.prepare import add_records, prepare

        entries = self.ledger.read(conn)
        # A copy has none of the rows of the tool's ledger.
        opened.refuse_disagreement(entries, in_copy=self.copy is not None)
        if not entries and opened.settings.source is None and "forward" in self.directions:
            refuse_unadopted(conn, opened.settings, opened.migrations)
        chosen = self.choose(opened.migrations, entries)
        known = {(work.direction, work.version): work for work in ready}
        for direction in self.directions:
            new = tuple(script for script in chosen if (direction, script.version) not in known)
            known |= {(direction, work.version): work for work in prepare(new, direction)}
        works = [known[direction, script.version] for direction in self.directions for script in chosen]
        return add_records(works, entries)

    @contextmanager
    def _open_prepared_runner(
        self, conn: Connection[Any], works: tuple[PreparedMigration, ...]
    ) -> Iterator[Runner]:
        # Before the lock is taken: counting rows may take seconds, and others need not wait for it.
        if self.prepare_session:
            self.prepare_session(self.settings, conn, works)
        with self._open_runner(conn, works) as runner:
            yield runner

    @contextmanager
    def _open_runner(self, conn: Connection[Any], works: tuple[PreparedMigration, ...]) -> Iterator[Runner]:
        from confiture.api.open_runner import RehearsalSetup, open_runner
        from confiture.hooks.plugin_manager import GuardedPluginManager
        from confiture.plugins.order import fill_manager
        from confiture.postgres.session import Session

        settings = self.settings
        rehearsal = RehearsalSetup(self.copy, self.explain, self.production_planner)
        with open_runner(
            settings,
            self.copy.open_session(conn) if self.copy else Session(conn, owned=True),
            works,
            manager=fill_manager(self.plugins, GuardedPluginManager(settings.plugin_tables)),
            connect=partial(connect, settings),
            connect_observer=partial(open_connection, settings, direct=True),
            plugins=self._list_plugin_uses(),
            ledger=self.ledger,
            rehearsal=rehearsal if self.mode == "dry-run" else None,
        ) as runner:
            if self.listener:
                self.listener.start(runner.describe_activity)
            yield runner

    def _run_all(
        self, runner: Runner, works: tuple[PreparedMigration, ...]
    ) -> tuple[tuple[MigrationResult, ...], BaseException | None]:
        """Run migrations until the first failure or signal; return their results and what stopped them."""
        results: list[MigrationResult] = []

        def add_result(result: MigrationResult) -> None:
            results.append(result)
            self._report_progress(result)

        try:
            if self.mode == "dry-run" and self.copy is None:
                from confiture.rehearsal.transaction import Rehearsal

                Rehearsal(runner).run(works, add_result)
            else:
                self._run_one_by_one(runner, works, add_result)
        except KeyboardInterrupt as signal:
            return tuple(results), signal
        except Exception as error:
            # Report the migrations that have run, whatever failed between two of them.
            if not results:
                raise
            return tuple(results), error
        return tuple(results), next((result.stopped_by for result in results if result.stopped_by), None)

    def _run_one_by_one(
        self,
        runner: Runner,
        works: tuple[PreparedMigration, ...],
        report_result: Callable[[MigrationResult], None],
    ) -> None:
        events = runner.run_context.events
        if events and works:
            events.begin()
        with runner.run_context.observer.listen():
            for work in works:
                result = runner.run(work)
                report_result(result)
                if result.stopped_by:
                    break
        if events:
            events.observe_schema()

    def _refuse_pooler(self, runner: Runner, works: tuple[PreparedMigration, ...]) -> None:
        """Raise a fault if a no-transaction migration would run through a transaction pooler.

        A pooler invents the process id that it reports to a client, so it differs from the server's.
        """
        outside = [work for work in works if not work.transactional]
        if outside and runner.run_context.session.conn.info.backend_pid != runner.lock_monitor.pid:
            raise ConfigurationFault(
                f"migration {outside[0].label} runs outside a transaction and needs a session, "
                "but the connection goes through a transaction pooler",
                hint="set direct_url to the server itself",
            )

    def _report_progress(self, result: MigrationResult) -> None:
        report = result.report
        took = "" if report.duration_ms is None else f" in {report.duration_ms:.0f} ms"
        label = f"{report.version} {report.name}".rstrip()
        self.report_progress(f"{label}: {report.outcome.replace('_', ' ')}{took}")
        if self.listener:
            self.listener.report_migration(report)

    def _list_plugin_uses(self) -> tuple[PluginUse, ...]:
        return tuple(plugin.use for plugin in self.plugins)

    def _make_report(
        self,
        version: str,
        results: tuple[MigrationResult, ...],
        stopped: BaseException | None = None,
        works: tuple[PreparedMigration, ...] = (),
    ) -> Report:
        from confiture.migrations.file_notes import note_files
        from confiture.models.report import MigrationReport, Report

        outcome: Outcome = "failed" if stopped else "ok"
        # An error that stopped a migration is reported with that migration.
        between = stopped is not None and not any(result.error for result in results)
        not_reached = works[len(results) :]
        return Report(
            mode=self.mode,
            outcome=outcome,
            exit_code=choose_exit_code(stopped) if stopped else 0,
            server_version=version,
            rehearsed_on=version if self.mode == "dry-run" else None,
            plugins=self._list_plugin_uses(),
            error=_build_fault_between(stopped, bool(not_reached)) if stopped and between else None,
            migrations=(
                *(result.report for result in results),
                *(MigrationReport(work.version, work.name, "pending", "not reached") for work in not_reached),
            ),
            notes=note_files(work.script for work in works if work.script),
        )


def _add_warnings(report: Report, runner: Runner) -> Report:
    """Return the report with what could not be recorded as an event."""
    events = runner.run_context.events
    return evolve(report, notes=(*report.notes, *events.warnings)) if events else report


def _build_fault_between(stopped: BaseException, more: bool) -> Fault:
    """Return the fault of what ended a command while no migration was running."""
    from confiture.models.report import Fault

    if isinstance(stopped, KeyboardInterrupt):
        return Fault("interrupted between two migrations" if more else "interrupted after the last migration")
    return build_outer_fault(stopped)
