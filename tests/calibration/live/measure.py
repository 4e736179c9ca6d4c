"""Take the time of changes: rehearsed on small databases, run on the large one, each on a copy of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from attrs import define, evolve, field, frozen
from psycopg import Connection

from confiture import hookimpl
from confiture.api import operations
from confiture.config.settings import Settings
from confiture.estimate.comparability import fits_in_buffers
from confiture.estimate.export import PROBED_S, export
from confiture.estimate.rehearse_sizes import Production
from confiture.estimate.statement_estimate import Prediction, RehearsedStatement, predict
from confiture.estimate.statistics import Statistics
from confiture.models.report import StatementReport
from confiture.plugins.load import LoadedPlugin
from confiture.testing.databases import TemplateDatabases
from tests.calibration.live.schemas import Change, LiveSchema

Tell = Callable[[str], None]


@frozen
class Processor:
    """What the kernel says of a process.

    Attributes:
        cpu_ms: How long it has computed.
        waited_ms: How long it waited for a CPU to do so.
        faults: How often it touched memory that it had not mapped yet, such as shared buffers new to it.
    """

    cpu_ms: float
    waited_ms: float
    faults: int = 0

    def since(self, before: Processor) -> Processor:
        """Return what has come since."""
        return Processor(
            self.cpu_ms - before.cpu_ms, self.waited_ms - before.waited_ms, self.faults - before.faults
        )


@frozen
class Timed:
    """One statement that ran.

    Attributes:
        statement: As the report has it, wall-clock time and all.
        processor: Of its server process, and a little round it; ``None`` where the kernel says nothing.
    """

    statement: StatementReport
    processor: Processor | None

    @property
    def adjusted(self) -> StatementReport:
        """The same without what others on this machine have cost it."""
        if self.processor is None:
            return self.statement
        ms = self.statement.duration_ms
        # Some of the waiting was not the statement's; it took no less than it computed.
        adjusted_ms = max(ms - self.processor.waited_ms, min(ms, self.processor.cpu_ms))
        return evolve(self.statement, duration_ms=adjusted_ms)


@frozen
class Judged:
    """What was predicted of a change, and what it took."""

    change: Change
    prediction: Prediction
    actual_ms: float
    crosses: bool


@frozen
class Measured:
    """A change on all databases: several runs on each of the small ones, one on the large one."""

    change: Change
    small: tuple[tuple[Statistics, tuple[Timed, ...]], ...]
    large: tuple[Statistics, Timed]

    def judge(self, *, adjusted: bool, probed: bool = True) -> Judged:
        """Predict it by the small ones, and set that beside the truth.

        Args:
            adjusted: Whether waiting for a CPU is taken out.
            probed: Whether the speed counts that was found beside each size.
        """

        def of(timed: Timed) -> StatementReport:
            return timed.adjusted if adjusted else timed.statement

        production, true = self.large
        speed = None if probed else production.probe
        rehearsals = [
            RehearsedStatement(evolve(here, probe=speed or here.probe), tuple(map(of, runs)))
            for here, runs in self.small
        ]
        prediction = predict(rehearsals, production)
        scales_with = (prediction.estimate.scales_with or "").removeprefix("the rows of ")
        here = self.small[-1][0]
        crosses = fits_in_buffers(scales_with, here) and not fits_in_buffers(scales_with, production)
        return Judged(self.change, prediction, of(true).duration_ms, crosses)


@frozen
class Database:
    """A database of one size that others are copied from."""

    name: str
    statistics: Statistics = field(repr=False)


def measure(
    templates: TemplateDatabases,
    schema: LiveSchema,
    sizes: Sequence[int],
    changes: Sequence[Change],
    *,
    seed: int = 1,
    runs: int = 3,
    probed_s: float = PROBED_S,
    tell: Tell = print,
) -> list[Measured]:
    """Rehearse on all sizes but the last, which is the production here, and run there."""
    with open_databases(templates, schema, sizes, seed, probed_s, tell) as (*small, large):
        measured = []
        for change in changes:
            rehearsed = tuple(
                (
                    database.statistics,
                    time_change(templates, database, change, large.statistics, rehearsals=runs),
                )
                for database in small
            )
            (true,) = time_change(templates, large, change, large.statistics)
            tell(f"{change.name}: {true.statement.duration_ms:,.0f} ms")
            measured.append(Measured(change, rehearsed, (large.statistics, true)))
        return measured


@contextmanager
def open_databases(
    templates: TemplateDatabases,
    schema: LiveSchema,
    sizes: Sequence[int],
    seed: int,
    probed_s: float,
    tell: Tell,
) -> Iterator[list[Database]]:
    """Lend a database of each size."""
    with ExitStack() as stack:
        made = []
        for rows in sizes:
            tell(f"{rows:,} rows")
            name = templates.copy("template0")
            stack.callback(templates.drop, name)
            conninfo = templates.server.conninfo(name)
            made.append(_fill_database(name, conninfo, schema, rows, seed, probed_s))
        yield made


def _fill_database(
    name: str, url: str, schema: LiveSchema, rows: int, seed: int, probed_s: float
) -> Database:
    with psycopg.connect(url, autocommit=True) as conn:
        schema.fill(conn, rows, seed)
    settings = Settings(root=Path(), url=url, migrations=Path())
    return Database(name, export(settings, sampled_s=0.0, probed_s=probed_s))


def time_change(
    templates: TemplateDatabases,
    database: Database,
    change: Change,
    production: Statistics,
    *,
    rehearsals: int = 0,
) -> tuple[Timed, ...]:
    """Rehearse a change so many times, or run it, in a copy of a database that nothing else was done in.

    All rehearsals in one copy, as ``--repeat`` does it: what the first finds cold the others find warm.
    """
    name = templates.copy(database.name)
    try:
        with tempfile.TemporaryDirectory() as folder:
            migrations = Path(folder)
            (migrations / "1_change.sql").write_text(change.sql, encoding="utf-8")
            settings = Settings(root=migrations, url=templates.server.conninfo(name), migrations=migrations)
            there = Production(production) if rehearsals else None
            return tuple(_time_once(settings, there) for _ in range(rehearsals or 1))
    finally:
        templates.drop(name)


def _time_once(settings: Settings, production: Production | None) -> Timed:
    watch = Watch()
    # With estimates, as users rehearse: rows are counted in the session, and plans compared.
    report = operations.run(
        settings, plugins=(watch.plugin,), dry_run=production is not None, production=production
    )
    (migration,) = report.migrations
    assert report.outcome == "ok", migration.error
    (statement,) = migration.statements
    # Taken out below, or not at all, and not twice.
    return Timed(evolve(statement, cpu_wait_ms=None), watch.seen)


@define
class Watch:
    """A plugin that looks at the server's process before and after the statements.

    Attributes:
        seen: In between; ``None`` where the kernel says nothing.
    """

    before: Processor | None = None
    seen: Processor | None = None

    @property
    def plugin(self) -> LoadedPlugin:
        """As if it had been installed."""

        def before_ddl(conn: Connection[Any]) -> None:
            self.before = read_processor(conn.info.backend_pid)

        def after_ddl(conn: Connection[Any]) -> None:
            now = read_processor(conn.info.backend_pid)
            self.seen = now.since(self.before) if now and self.before else None

        hooks: Mapping[str, Any] = {"before_ddl": before_ddl, "after_ddl": after_ddl}
        marked = {phase: staticmethod(hookimpl(hook)) for phase, hook in hooks.items()}
        return LoadedPlugin("watch", "watch", "1.0", type("watch", (), marked)(), tuple(hooks))


def read_processor(pid: int) -> Processor | None:
    """Return what a process has had of the CPUs so far; ``None`` where the kernel does not say."""
    try:
        cpu_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        # The name in parentheses may hold anything; minflt is the eighth field behind it.
        faults = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7]
    except (OSError, ValueError):
        return None
    return Processor(int(cpu_ns) / 1e6, int(waited_ns) / 1e6, int(faults))
