"""One command that executes: choose what to run, hold the lock, run or rehearse it, and report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from confiture.config.settings import Settings
from confiture.engine.failures import choose_exit_code
from confiture.exceptions import ConfigurationFault
from confiture.ledger.table import Ledger
from confiture.migrations.folder import read_folder
from confiture.migrations.planner import find_unfinished
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Direction, MigrationFile
from confiture.postgres.connect import connect, open_connection, read_server_version

if TYPE_CHECKING:
    from typing import Any

    from psycopg import Connection

    from confiture.engine.blockers import ProgressListener
    from confiture.engine.runner import MigrationResult, Runner
    from confiture.estimate.rehearse_sizes import RehearsalResult
    from confiture.estimate.statistics import Statistics
    from confiture.migrations.prepare import PreparedMigration
    from confiture.models.report import Mode, Outcome, PluginUse, Report
    from confiture.plugins.load import Loaded
    from confiture.rehearsal.copies import DatabaseCopy, RehearsalTarget
    from confiture.rehearsal.residue import ResidueSnapshot

ProgressCallback = Callable[[str], None]
Judge = Callable[["Connection[Any]", "Report", "tuple[PreparedMigration, ...]"], "Report"]


@frozen
class Executor:
    """One command that executes: what to run, and how.

    Attributes:
        settings: Which database and migrations.
        mode: As the report names it.
        choose: Returns what is to be run, of all migrations and the ledger's entries.
        plugins: Whose hooks run.
        report_progress: Gets a line for each migration that has ended.
        listener: Is told of each, and may ask what runs now.
        directions: Each is gone through for all that is chosen.
        copy: Where it is rehearsed, ``None`` on the database itself.
        explain: Whether DML is explained.
        judge: Adds its findings to the report.
        before_run: Looks at the database before anything runs.
        ledger: Where it is recorded.
    """

    settings: Settings
    mode: Mode
    choose: Callable[[tuple[MigrationFile, ...], tuple[LedgerEntry, ...]], tuple[MigrationFile, ...]]
    plugins: tuple[Loaded, ...]
    report_progress: ProgressCallback
    listener: ProgressListener | None = None
    directions: tuple[Direction, ...] = ("forward",)
    copy: DatabaseCopy | None = None
    explain: bool = False
    judge: Judge | None = None
    before_run: Callable[[Settings], None] | None = None
    ledger: Ledger = field(init=False)

    @ledger.default
    def _make_ledger(self) -> Ledger:
        return Ledger(self.settings.schema)

    def rehearse(
        self, place: RehearsalTarget, sample_rows: int | None, repeat: int, *, with_statistics: bool = False
    ) -> RehearsalResult:
        """Rehearse ``repeat`` times.

        Args:
            place: Where.
            sample_rows: How many rows of each table to copy there; ``None``: all, or none in an empty copy.
            repeat: How many times.
            with_statistics: Whether to export the statistics of the database before the first rehearsal.
        """
        from confiture.estimate.export import export
        from confiture.estimate.rehearse_sizes import RehearsalResult
        from confiture.rehearsal.repeat import repeat_rehearsal

        here: list[Statistics] = []
        runs: list[Report] = []

        def take_statistics(settings: Settings) -> None:
            here.append(export(settings, sampled_s=0.0))

        def once() -> Report:
            # They are the same before every repetition, and cost a query for each table.
            executor = evolve(self, before_run=take_statistics) if with_statistics and not here else self
            report = (
                executor.rehearse_in_copy(place, sample_rows)
                if place != "transaction"
                else executor.execute()
            )
            runs.append(report)
            return report

        report = repeat_rehearsal(once, repeat)
        return RehearsalResult(report, tuple(runs), here[0] if here else None)

    def rehearse_in_copy(self, place: RehearsalTarget, sample_rows: int | None) -> Report:
        """Rehearse in a copy of the database, each migration committed there."""
        from confiture.rehearsal.copies import add_copy_notes, note_missing_rows, open_copy

        scripts = read_folder(self.settings.migrations)
        with open_connection(self.settings, direct=True) as conn:
            version = read_server_version(conn)
            works = self._prepare_migrations(conn, scripts)
        if not works:
            return self._make_report(version, ())
        with open_copy(self.settings, place, works, sample_rows) as copy:
            executor = evolve(self, settings=copy.settings, copy=copy)
            report = add_copy_notes(executor.execute(works), copy)
        if place == "embedded" and sample_rows is None:
            report = note_missing_rows(report)
        return evolve(report, server_version=version)

    def execute(self, ready: tuple[PreparedMigration, ...] = ()) -> Report:
        """Run what is chosen, or rehearse it, on the database itself; what is ``ready`` is not parsed again.

        Raises:
            ConfitureError: Nothing was begun.
        """
        scripts = read_folder(self.settings.migrations)
        with open_connection(self.settings) as conn:
            version = read_server_version(conn)
            works = self._prepare_migrations(conn, scripts, ready)
            if not works:
                return self._make_report(version, ())
            if self.before_run:
                self.before_run(self.settings)
            with self._open_session(conn, works) as own, self._open_runner(own, works) as runner:
                # Another run may have been at it while we waited for the lock.
                works = self._prepare_migrations(own, scripts, works)
                if (self.mode != "dry-run" or self.copy) and works:
                    self._refuse_pooler(runner, works)
                    self.ledger.create(own)
                before = self._take_snapshot(own, works)
                report = self._make_report(version, *self._run_all(runner, works), works)
                report = self._add_residue(own, before, report)
                return self.judge(own, report, works) if self.judge else report

    def _take_snapshot(
        self, conn: Connection[Any], works: tuple[PreparedMigration, ...]
    ) -> ResidueSnapshot | None:
        """Return what a rollback would not put back, where there is something to rehearse."""
        if self.mode != "dry-run" or self.copy or not works:
            return None
        from confiture.rehearsal.residue import take_residue_snapshot

        return take_residue_snapshot(conn)

    def _add_residue(self, conn: Connection[Any], before: ResidueSnapshot | None, report: Report) -> Report:
        if before is None:
            return report
        from confiture.rehearsal.notes import collect_notes
        from confiture.rehearsal.residue import describe_comparison, find_residue, take_residue_snapshot

        after = take_residue_snapshot(conn)
        said = (*report.notes, *collect_notes(report.migrations), *describe_comparison(before, after))
        return evolve(report, residue=find_residue(before, after), notes=said)

    @contextmanager
    def _open_session(
        self, conn: Connection[Any], works: tuple[PreparedMigration, ...]
    ) -> Iterator[Connection[Any]]:
        """Lend the connection to run on: past the pooler, where one of them needs a session of its own."""
        if self.settings.direct_url and not all(work.transactional for work in works):
            with open_connection(self.settings, direct=True) as direct:
                yield direct
        else:
            yield conn

    def _prepare_migrations(
        self,
        conn: Connection[Any],
        scripts: tuple[MigrationFile, ...],
        ready: tuple[PreparedMigration, ...] = (),
    ) -> tuple[PreparedMigration, ...]:
        """Return what is to be run, in order; what is ``ready`` is not parsed again."""
        from confiture.migrations.prepare import prepare

        entries = self.ledger.read(conn)
        chosen = self.choose(scripts, entries)
        known = {(work.direction, work.version): work for work in ready}
        for direction in self.directions:
            new = tuple(script for script in chosen if (direction, script.version) not in known)
            known |= {(direction, work.version): work for work in prepare(new, direction)}
        return tuple(
            evolve(
                known[direction, script.version], recorded=find_unfinished(entries, script.version, direction)
            )
            for direction in self.directions
            for script in chosen
        )

    @contextmanager
    def _open_runner(self, conn: Connection[Any], works: tuple[PreparedMigration, ...]) -> Iterator[Runner]:
        from confiture.api.open_runner import open_runner
        from confiture.engine.transactional import ExecutionMode
        from confiture.hooks.plugin_manager import GuardedPluginManager
        from confiture.plugins.order import manager_for
        from confiture.postgres.session import Session

        settings = self.settings
        if self.mode != "dry-run":
            mode = ExecutionMode.RUN
        else:
            mode = ExecutionMode.REHEARSE_IN_COPY if self.copy else ExecutionMode.REHEARSE
        with open_runner(
            settings,
            self.copy.open_session(conn) if self.copy else Session(conn, owned=True),
            works,
            mode=mode,
            manager=manager_for(self.plugins, GuardedPluginManager(settings.plugin_tables)),
            connect=partial(connect, settings),
            connect_observer=partial(open_connection, settings, direct=True),
            plugins=self._list_plugin_uses(),
            copy=self.copy,
            explain=self.explain,
        ) as runner:
            if self.listener:
                self.listener.start(runner.describe_activity)
            yield runner

    def _run_all(
        self, runner: Runner, works: tuple[PreparedMigration, ...]
    ) -> tuple[tuple[MigrationResult, ...], BaseException | None]:
        """Run them until the first failure or signal; return what became of each, and what stopped it."""
        each: list[MigrationResult] = []

        def tell(ran: MigrationResult) -> None:
            each.append(ran)
            self._report_progress(ran)

        try:
            if self.mode == "dry-run" and self.copy is None:
                from confiture.rehearsal.transaction import Rehearsal

                Rehearsal(runner).run(works, tell)
            else:
                self._run_one_by_one(runner, works, tell)
        except KeyboardInterrupt as signal:
            return tuple(each), signal
        return tuple(each), next((ran.stopped_by for ran in each if ran.stopped_by), None)

    def _run_one_by_one(
        self,
        runner: Runner,
        works: tuple[PreparedMigration, ...],
        report_result: Callable[[MigrationResult], None],
    ) -> None:
        with runner.run_context.observer.listen():
            for work in works:
                ran = runner.run(work)
                report_result(ran)
                if ran.stopped_by:
                    break

    def _refuse_pooler(self, runner: Runner, works: tuple[PreparedMigration, ...]) -> None:
        """Ask for a session of one's own where a transaction pooler stands between.

        A pooler makes up the process id it gives a client; the server's own is another.
        """
        outside = [work for work in works if not work.transactional]
        if outside and runner.run_context.session.conn.info.backend_pid != runner.lock_monitor.pid:
            raise ConfigurationFault(
                f"migration {outside[0].label} runs outside a transaction and needs a session of its own, "
                "and there is a transaction pooler between",
                hint="set direct_url to the server itself",
            )

    def _report_progress(self, ran: MigrationResult) -> None:
        report = ran.report
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
        ran: tuple[MigrationResult, ...],
        stopped: BaseException | None = None,
        works: tuple[PreparedMigration, ...] = (),
    ) -> Report:
        from confiture.models.report import Fault, MigrationReport, Report

        outcome: Outcome = "failed" if stopped else "ok"
        between = isinstance(stopped, KeyboardInterrupt) and not any(each.error for each in ran)
        not_reached = works[len(ran) :]
        return Report(
            mode=self.mode,
            outcome=outcome,
            exit_code=choose_exit_code(stopped) if stopped else 0,
            server_version=version,
            rehearsed_on=version if self.mode == "dry-run" else None,
            plugins=self._list_plugin_uses(),
            fault=Fault("interrupted between two migrations") if between else None,
            migrations=(
                *(each.report for each in ran),
                *(MigrationReport(work.version, work.name, "pending", "not reached") for work in not_reached),
            ),
        )
