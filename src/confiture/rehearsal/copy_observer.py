"""Watch a no-transaction migration in a copy of the database, statement by statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field
from psycopg import Connection

from confiture.engine.observer import Held, Observer
from confiture.models.report import Blocks, Lock, MigrationReport, NotSeen, StatementReport
from confiture.postgres.locks import HELD, merged, strongest
from confiture.postgres.session import rows, send
from confiture.rehearsal.statement_observer import Sampled, Sampler
from confiture.rehearsal.trace.blocking import blocked_by
from confiture.rehearsal.trace.catalog import RELATIONS, Catalog
from confiture.rehearsal.trace.trace import Trace


@define
class CopyObserver:
    """Traces statements that run in a transaction, and samples those that run outside one.

    Attributes:
        conn: The migration's connection.
        trace: Takes snapshots in a statement's transaction.
        sampler: Reads the locks of a statement from another connection, while it runs.
        locks: The locks that were sampled.
        not_seen: What could not be observed.
    """

    conn: Connection[Any]
    trace: Trace
    sampler: Sampler
    locks: tuple[Lock, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    _catalog: Catalog = field(factory=Catalog)
    _sampled: dict[int, Sampled] = field(factory=dict)
    _traced: dict[int, Callable[[MigrationReport], MigrationReport]] = field(factory=dict)

    def begin(self) -> None:
        """Note what there is before the migration: its locks are those on these."""
        self.locks, self.not_seen, self._sampled, self._traced = (), (), {}, {}
        # Asked by the sampler, not by the lock keeper: the keeper's open transaction would go on holding
        # pg_class, which VACUUM FULL may want.
        self.sampler.remember()
        self._catalog = Catalog.of(*send(self.conn, RELATIONS))

    def skip_hooks(self, phase: str) -> None:
        """Note that the hooks of a phase run in transactions that are not traced."""
        reason = "they have transactions of their own, over when they end"
        self.not_seen += (NotSeen(None, f"locks of {phase} hooks", reason),)

    @contextmanager
    def watch_transaction(self, number: int) -> Iterator[Observer]:
        """Trace the statement of that number in its transaction."""
        self.trace.reset()
        self.trace.begin((), shared=False, hooks=False)
        yield self.trace
        self.trace.leave()
        self.trace.end(rows(self.conn, HELD))
        self._traced[number] = self.trace.result()

    def take_locks(self, held: Held) -> None:
        """Add the locks that the statement in that transaction holds."""
        self.locks = merged(self.locks, strongest(held, self.sampler.known))

    @contextmanager
    def watch_statement(self, number: int, sql: str, line: int | None) -> Iterator[None]:
        """Sample a statement's locks while it runs."""

        def keep(sampled: Sampled) -> None:
            self._sampled[number] = sampled
            self.locks = merged(self.locks, sampled.locks)
            self.not_seen += sampled.not_seen

        with self.sampler.watching(self.conn, sql, keep, line):
            yield

    def note_unseen(self, line: int | None) -> None:
        """Note nothing: the sampler says itself what it could not see."""

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with what was seen of its statements."""
        alone = evolve(report, hooks=(), warnings=())
        traced = {
            number: measure(evolve(alone, statements=(report.statements[number],)))
            for number, measure in self._traced.items()
        }
        statements = tuple(
            traced[number].statements[0]
            if number in traced
            else _add_sampled(statement, self._sampled.get(number))
            for number, statement in enumerate(report.statements)
        )
        blocks = (
            blocked_by(self._catalog, [lock for seen in self._sampled.values() for lock in seen.locks]),
            *(part.blocks for part in traced.values()),
        )
        return evolve(
            report,
            statements=statements,
            locks=self.locks,
            blocks=Blocks(_union(block.reads for block in blocks), _union(block.writes for block in blocks)),
            rewrites=_union(statement.rewrites for statement in statements),
            index_builds=tuple(
                dict.fromkeys(build for statement in statements for build in statement.index_builds)
            ),
            scans=_union(statement.scans for statement in statements),
            long_blocks=_union(
                (
                    *(seen.long_blocks for seen in self._sampled.values()),
                    *(part.long_blocks for part in traced.values()),
                )
            ),
            not_seen=(*self.not_seen, *(unseen for part in traced.values() for unseen in part.not_seen)),
        )


def _add_sampled(statement: StatementReport, sampled: Sampled | None) -> StatementReport:
    if sampled is None:
        return statement
    return evolve(
        statement,
        duration_ms=max(0.0, statement.duration_ms - sampled.held_up_ms),
        locks=sampled.locks,
        rewrites=sampled.rewrites,
        index_builds=sampled.index_builds,
    )


def _union(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in names for name in group}))
