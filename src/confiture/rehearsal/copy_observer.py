"""Observe a no-transaction migration in a copy of the database, statement by statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field
from psycopg import Connection

from confiture.engine.observer import HeldRows, Observer
from confiture.models.report import Blocks, Lock, MigrationReport, NotSeen, StatementReport
from confiture.postgres.locks import HELD_SQL, list_strongest_locks, merge_locks
from confiture.postgres.session import fetch_rows, send
from confiture.rehearsal.statement_observer import Sampler, StatementObservation
from confiture.rehearsal.trace.blocked_access import find_blocks
from confiture.rehearsal.trace.catalog import RELATIONS_SQL, Catalog
from confiture.rehearsal.trace.trace import Tracer
from confiture.rehearsal.trace.trace_report import merge_names


@define
class CopyObserver:
    """Traces statements that run in a transaction, and samples those that run outside one.

    Attributes:
        conn: The migration's connection.
        tracer: Takes snapshots in a statement's transaction.
        sampler: Reads the locks of a statement from another connection, while it runs.
        locks: The locks that were sampled.
        not_seen: What could not be observed.
    """

    conn: Connection[Any]
    tracer: Tracer
    sampler: Sampler
    locks: tuple[Lock, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    _catalog: Catalog = field(factory=Catalog)
    _sampled: dict[int, StatementObservation] = field(factory=dict)
    _traced: dict[int, Callable[[MigrationReport], MigrationReport]] = field(factory=dict)

    def begin(self) -> None:
        """Note the relations that exist before the migration: only locks on them count."""
        self.locks, self.not_seen, self._sampled, self._traced = (), (), {}, {}
        # On the sampler's connection, not the keeper's: the keeper's transaction stays open, and would hold
        # its lock on pg_class, which VACUUM FULL of the whole database waits for.
        self.sampler.remember()
        self._catalog = Catalog.from_rows(*send(self.conn, RELATIONS_SQL))

    def skip_hooks(self, phase: str) -> None:
        """Note that the hooks of a phase run in transactions that are not traced."""
        reason = "each phase of hooks commits its own transaction, which is not traced"
        self.not_seen += (NotSeen(None, f"locks of {phase} hooks", reason),)

    @contextmanager
    def watch_transaction(self, number: int) -> Iterator[Observer]:
        """Trace the statement with that number in its transaction."""
        self.tracer.reset()
        state = send(self.conn, self.tracer.render_opening_sql(shared=False))
        self.tracer.begin(state, shared=False, hooks=False, sql_only=False)
        yield self.tracer
        self.tracer.leave()
        self.tracer.end(fetch_rows(self.conn, HELD_SQL))
        self._traced[number] = self.tracer.capture_trace()

    def take_locks(self, held: HeldRows) -> None:
        """Add the locks that the statement in that transaction holds."""
        self.locks = merge_locks(self.locks, list_strongest_locks(held, self.sampler.relations_before))

    @contextmanager
    def watch_statement(self, number: int, sql: str, line: int | None) -> Iterator[None]:
        """Sample a statement's locks while it runs."""

        def keep(sampled: StatementObservation) -> None:
            self._sampled[number] = sampled
            self.locks = merge_locks(self.locks, sampled.locks)
            self.not_seen += sampled.not_seen

        with self.sampler.sample_statement(self.conn, sql, keep, line):
            yield

    def note_unseen(self, line: int | None) -> None:
        """Note nothing: the sampler's observation says what it could not see."""

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with what was observed of its statements."""
        # Each traced statement was a migration to the tracer: give each a report with one statement.
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
            find_blocks(self._catalog, [lock for seen in self._sampled.values() for lock in seen.locks]),
            *(part.blocks for part in traced.values()),
        )
        return evolve(
            report,
            statements=statements,
            locks=self.locks,
            blocks=Blocks(
                merge_names(block.reads for block in blocks), merge_names(block.writes for block in blocks)
            ),
            rewrites=merge_names(statement.rewrites for statement in statements),
            index_builds=tuple(
                dict.fromkeys(build for statement in statements for build in statement.index_builds)
            ),
            scans=merge_names(statement.scans for statement in statements),
            long_blocks=merge_names(
                (
                    *(seen.long_blocks for seen in self._sampled.values()),
                    *(part.long_blocks for part in traced.values()),
                )
            ),
            not_seen=(*self.not_seen, *(unseen for part in traced.values() for unseen in part.not_seen)),
        )


def _add_sampled(statement: StatementReport, sampled: StatementObservation | None) -> StatementReport:
    if sampled is None:
        return statement
    return evolve(
        statement,
        # Without the time for which pins paused it.
        duration_ms=max(0.0, statement.duration_ms - sampled.held_up_ms),
        locks=sampled.locks,
        rewrites=sampled.rewrites,
        index_builds=sampled.index_builds,
        long_blocks=sampled.long_blocks,
        empty_blocks=sampled.empty_blocks,
    )
