"""One command that executes: choose what to run, hold the lock, run or rehearse it, and report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from confiture.config.settings import Settings
from confiture.engine.failures import exit_code
from confiture.exceptions import ConfigurationFault
from confiture.ledger.table import Ledger
from confiture.migrations.folder import read_folder
from confiture.migrations.planner import unfinished
from confiture.models.ledger import Entry
from confiture.models.migration import Direction, Script
from confiture.postgres.connect import connect, connected, server_version

if TYPE_CHECKING:
    from typing import Any

    from psycopg import Connection

    from confiture.engine.blockers import Watcher
    from confiture.engine.runner import Ran, Runner
    from confiture.estimate.rehearse_sizes import Rehearsed
    from confiture.estimate.statistics import Statistics
    from confiture.migrations.prepare import Work
    from confiture.models.report import Mode, Outcome, PluginUse, Report
    from confiture.plugins.load import Loaded
    from confiture.rehearsal.copies import Copy, Place
    from confiture.rehearsal.residue import Snapshot

Tell = Callable[[str], None]
Judge = Callable[["Connection[Any]", "Report", "tuple[Work, ...]"], "Report"]


@frozen
class Errand:
    """One command that executes: what to run, and how.

    Attributes:
        settings: Which database and migrations.
        mode: As the report names it.
        choose: Returns what is to be run, of all migrations and the ledger's entries.
        plugins: Whose hooks run.
        tell: Gets a line for each migration that has ended.
        watcher: Is told of each, and may ask what runs now.
        directions: Each is gone through for all that is chosen.
        copy: Where it is rehearsed, ``None`` on the database itself.
        explain: Whether DML is explained.
        judge: Adds its findings to the report.
        first_look: Looks at the database before anything runs.
        ledger: Where it is recorded.
    """

    settings: Settings
    mode: Mode
    choose: Callable[[tuple[Script, ...], tuple[Entry, ...]], tuple[Script, ...]]
    plugins: tuple[Loaded, ...]
    tell: Tell
    watcher: Watcher | None = None
    directions: tuple[Direction, ...] = ("forward",)
    copy: Copy | None = None
    explain: bool = False
    judge: Judge | None = None
    first_look: Callable[[Settings], None] | None = None
    ledger: Ledger = field(init=False)

    @ledger.default
    def _ledger(self) -> Ledger:
        return Ledger(self.settings.schema)

    def rehearse(
        self, place: Place, sample_rows: int | None, repeat: int, *, with_statistics: bool = False
    ) -> Rehearsed:
        """Rehearse ``repeat`` times.

        Args:
            place: Where.
            sample_rows: How many rows of each table to copy there; ``None``: all, or none in an empty copy.
            repeat: How many times.
            with_statistics: Whether to export the statistics of the database before the first rehearsal.
        """
        from confiture.estimate.export import export
        from confiture.estimate.rehearse_sizes import Rehearsed
        from confiture.rehearsal.repeat import repeated

        here: list[Statistics] = []
        runs: list[Report] = []

        def take_statistics(settings: Settings) -> None:
            here.append(export(settings, sampled_s=0.0))

        def once() -> Report:
            # They are the same before every repetition, and cost a query for each table.
            errand = evolve(self, first_look=take_statistics) if with_statistics and not here else self
            report = errand.carry_out_in(place, sample_rows) if place != "transaction" else errand.carry_out()
            runs.append(report)
            return report

        report = repeated(once, repeat)
        return Rehearsed(report, tuple(runs), here[0] if here else None)

    def carry_out_in(self, place: Place, sample_rows: int | None) -> Report:
        """Rehearse in a copy of the database, each migration committed there."""
        from confiture.rehearsal.copies import copied, in_words, without_rows

        scripts = read_folder(self.settings.migrations)
        with connected(self.settings, direct=True) as conn:
            version = server_version(conn)
            works = self._works(conn, scripts)
        if not works:
            return self._report(version, ())
        with copied(self.settings, place, works, sample_rows) as copy:
            errand = evolve(self, settings=copy.settings, copy=copy)
            report = in_words(errand.carry_out(works), copy)
        if place == "embedded" and sample_rows is None:
            report = without_rows(report)
        return evolve(report, server_version=version)

    def carry_out(self, ready: tuple[Work, ...] = ()) -> Report:
        """Run what is chosen, or rehearse it, on the database itself; what is ``ready`` is not parsed again.

        Raises:
            ConfitureError: Nothing was begun.
        """
        scripts = read_folder(self.settings.migrations)
        with connected(self.settings) as conn:
            version = server_version(conn)
            works = self._works(conn, scripts, ready)
            if not works:
                return self._report(version, ())
            if self.first_look:
                self.first_look(self.settings)
            with self._session(conn, works) as own, self._runner(own, works) as runner:
                # Another run may have been at it while we waited for the lock.
                works = self._works(own, scripts, works)
                if (self.mode != "dry-run" or self.copy) and works:
                    self._refuse_pooler(runner, works)
                    self.ledger.create(own)
                before = self._look(own, works)
                report = self._report(version, *self._all(runner, works), works)
                report = self._with_residue(own, before, report)
                return self.judge(own, report, works) if self.judge else report

    def _look(self, conn: Connection[Any], works: tuple[Work, ...]) -> Snapshot | None:
        """Return what a rollback would not put back, where there is something to rehearse."""
        if self.mode != "dry-run" or self.copy or not works:
            return None
        from confiture.rehearsal.residue import snapshot

        return snapshot(conn)

    def _with_residue(self, conn: Connection[Any], before: Snapshot | None, report: Report) -> Report:
        if before is None:
            return report
        from confiture.rehearsal.notes import remarks
        from confiture.rehearsal.residue import notes, residue, snapshot

        after = snapshot(conn)
        said = (*report.notes, *remarks(report.migrations), *notes(before, after))
        return evolve(report, residue=residue(before, after), notes=said)

    @contextmanager
    def _session(self, conn: Connection[Any], works: tuple[Work, ...]) -> Iterator[Connection[Any]]:
        """Lend the connection to run on: past the pooler, where one of them needs a session of its own."""
        if self.settings.direct_url and not all(work.transactional for work in works):
            with connected(self.settings, direct=True) as direct:
                yield direct
        else:
            yield conn

    def _works(
        self, conn: Connection[Any], scripts: tuple[Script, ...], ready: tuple[Work, ...] = ()
    ) -> tuple[Work, ...]:
        """Return what is to be run, in order; what is ``ready`` is not parsed again."""
        from confiture.migrations.prepare import prepare

        entries = self.ledger.read(conn)
        chosen = self.choose(scripts, entries)
        known = {(work.direction, work.version): work for work in ready}
        for direction in self.directions:
            new = tuple(script for script in chosen if (direction, script.version) not in known)
            known |= {(direction, work.version): work for work in prepare(new, direction)}
        return tuple(
            evolve(known[direction, script.version], done=unfinished(entries, script.version, direction))
            for direction in self.directions
            for script in chosen
        )

    @contextmanager
    def _runner(self, conn: Connection[Any], works: tuple[Work, ...]) -> Iterator[Runner]:
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
            self.copy.session(conn) if self.copy else Session(conn, ours=True),
            works,
            mode=mode,
            manager=manager_for(self.plugins, GuardedPluginManager(settings.plugin_tables)),
            connect=partial(connect, settings),
            connect_observer=partial(connected, settings, direct=True),
            plugins=self._uses(),
            copy=self.copy,
            explain=self.explain,
        ) as runner:
            if self.watcher:
                self.watcher.begins(runner.now)
            yield runner

    def _all(self, runner: Runner, works: tuple[Work, ...]) -> tuple[tuple[Ran, ...], BaseException | None]:
        """Run them until the first failure or signal; return what became of each, and what stopped it."""
        each: list[Ran] = []

        def tell(ran: Ran) -> None:
            each.append(ran)
            self._progress(ran)

        try:
            if self.mode == "dry-run" and self.copy is None:
                from confiture.rehearsal.transaction import Rehearsal

                Rehearsal(runner).run(works, tell)
            else:
                self._one_by_one(runner, works, tell)
        except KeyboardInterrupt as signal:
            return tuple(each), signal
        return tuple(each), next((ran.stops for ran in each if ran.stops), None)

    def _one_by_one(self, runner: Runner, works: tuple[Work, ...], tell: Callable[[Ran], None]) -> None:
        with runner.engine.observer.listen():
            for work in works:
                ran = runner.run(work)
                tell(ran)
                if ran.stops:
                    break

    def _refuse_pooler(self, runner: Runner, works: tuple[Work, ...]) -> None:
        """Ask for a session of one's own where a transaction pooler stands between.

        A pooler makes up the process id it gives a client; the server's own is another.
        """
        outside = [work for work in works if not work.transactional]
        if outside and runner.engine.session.conn.info.backend_pid != runner.blockers.pid:
            raise ConfigurationFault(
                f"migration {outside[0].label} runs outside a transaction and needs a session of its own, "
                "and there is a transaction pooler between",
                hint="set direct_url to the server itself",
            )

    def _progress(self, ran: Ran) -> None:
        report = ran.report
        took = "" if report.duration_ms is None else f" in {report.duration_ms:.0f} ms"
        label = f"{report.version} {report.name}".rstrip()
        self.tell(f"{label}: {report.outcome.replace('_', ' ')}{took}")
        if self.watcher:
            self.watcher.ended(report)

    def _uses(self) -> tuple[PluginUse, ...]:
        return tuple(each.use for each in self.plugins)

    def _report(
        self,
        version: str,
        ran: tuple[Ran, ...],
        stopped: BaseException | None = None,
        works: tuple[Work, ...] = (),
    ) -> Report:
        from confiture.models.report import Fault, MigrationReport, Report

        outcome: Outcome = "failed" if stopped else "ok"
        between = isinstance(stopped, KeyboardInterrupt) and not any(each.error for each in ran)
        not_reached = works[len(ran) :]
        return Report(
            mode=self.mode,
            outcome=outcome,
            exit_code=exit_code(stopped) if stopped else 0,
            server_version=version,
            rehearsed_on=version if self.mode == "dry-run" else None,
            plugins=self._uses(),
            fault=Fault("interrupted between two migrations") if between else None,
            migrations=(
                *(each.report for each in ran),
                *(MigrationReport(work.version, work.name, "pending", "not reached") for work in not_reached),
            ),
        )
