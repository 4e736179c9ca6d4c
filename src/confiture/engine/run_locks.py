"""Read the locks of a run: which relations a migration has locked, and for how long at most."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from attrs import define, evolve, field
from psycopg import Connection
from psycopg.errors import OperationalError
from psycopg.pq import TransactionStatus

from confiture.engine.observer import HeldRows, NoObserver, Observer
from confiture.ledger.migration_lock import build_lock_lost_fault
from confiture.models.report import Lock, MigrationReport, NotSeen
from confiture.postgres.locks import (
    HELD_SQL,
    NEWEST_OID_SQL,
    RelationName,
    add_held_ms,
    collect_blocks,
    list_strongest_locks,
    merge_locks,
    read_relations,
)
from confiture.postgres.open_copy import has_open_copy
from confiture.postgres.session import fetch_rows

# Reading the locks takes a tenth of a millisecond and a round trip, which may be slow. It may take a
# twentieth of the time.
_LOOK_AFTER_MS = 50.0
_COST_SHARE = 0.05


@define
class LocksAtEnd(NoObserver):
    """Reads the locks of a run in the message before the commit, which costs no round trip.

    It also reads them before a statement, unless it did so a short time ago. A lock was taken after the last
    time that it was not held, and is held for at most the time since then.

    Attributes:
        conn: The migration's connection.
        keeper_conn: Another connection, which still sees the relations as they were before the migration.
        locks: Locks in Share or a stronger mode, on relations that existed before.
    """

    conn: Connection[Any]
    keeper_conn: Connection[Any]
    locks: tuple[Lock, ...] = ()
    _held_before: frozenset[tuple[Any, ...]] = frozenset()
    _newest: int | None = None
    _existing: dict[int, RelationName] | None = None
    _looked_ms: float = 0.0
    _look_cost_ms: float = 0.0
    _since_ms: dict[tuple[Any, ...], float] = field(factory=dict)

    def reset(self) -> None:
        """Forget the previous attempt."""
        self.locks, self._held_before, self._newest, self._existing = (), frozenset(), None, None
        self._since_ms = {}

    def render_opening_sql(self, *, shared: bool) -> str:
        """Return a query for the locks that a shared transaction holds already, else for the newest oid."""
        return HELD_SQL if shared else NEWEST_OID_SQL

    def begin(
        self,
        answers: Sequence[HeldRows],
        *,
        shared: bool,
        hooks: bool,  # noqa: ARG002 - the protocol's
        sql_only: bool,  # noqa: ARG002
    ) -> None:
        """Note the locks held before the migration, or the newest relation."""
        if shared:
            self._held_before = frozenset(answers[-1])
            # Read on the migration's connection: the keeper does not see the relations that an earlier
            # migration in this transaction has created.
            self._existing = read_relations(self.conn)
        else:
            ((self._newest,),) = answers[-1]
        self._looked_ms = self.read_clock_ms()

    def before_statement(self, sql: str) -> None:  # noqa: ARG002 - the protocol's
        """Note the locks that are held by now, if the last time is long ago."""
        now_ms = self.read_clock_ms()
        # With a COPY open or after an error no query works.
        usable = self.conn.info.transaction_status == TransactionStatus.INTRANS and not has_open_copy(
            self.conn
        )
        if usable and now_ms - self._looked_ms >= max(_LOOK_AFTER_MS, self._look_cost_ms / _COST_SHARE):
            self._note_since(fetch_rows(self.conn, HELD_SQL))
            self._looked_ms, self._look_cost_ms = now_ms, self.read_clock_ms() - now_ms

    def _note_since(self, held: HeldRows) -> None:
        """Note since when each lock is held at most; one that was released is forgotten."""
        self._since_ms = {row: self._since_ms.get(row, self._looked_ms) for row in held}

    def end(self, held: HeldRows) -> None:
        """Note the locks taken since the migration began."""
        self._note_since(held)
        new = [row for row in held if row not in self._held_before]
        if self._newest is not None:
            # A relation created since has a higher oid, so a migration that only creates tables asks the
            # keeper nothing. If the oid counter has wrapped around, the keeper does not see the relation.
            new = [row for row in new if row[0] <= self._newest]
        if new:
            known = self._read_existing({oid for oid, _ in new})
            self.locks = add_held_ms(list_strongest_locks(new, known), known, self._compute_held_ms())

    def _compute_held_ms(self) -> dict[tuple[Any, ...], float]:
        now_ms = self.read_clock_ms()
        return {row: now_ms - since_ms for row, since_ms in self._since_ms.items()}

    def _read_existing(self, oids: set[int]) -> dict[int, RelationName]:
        return read_existing_before(self.keeper_conn, oids) if self._existing is None else self._existing

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with the locks and what they block."""
        return evolve(report, locks=self.locks, blocks=collect_blocks(self.locks))


@define
class LocksOfSteps:
    """Keeps the locks of each statement that runs in a transaction, read in the message that records it.

    Attributes:
        keeper_conn: Another connection, which still sees the relations as they were before a statement.
        locks: The locks of all statements so far.
        not_seen: Statements whose locks could not be read.
    """

    keeper_conn: Connection[Any]
    locks: tuple[Lock, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    _began_s: float = 0.0

    def begin(self) -> None:
        """Forget the previous attempt."""
        self.locks, self.not_seen = (), ()

    def skip_hooks(self, phase: str) -> None:
        """Note nothing: a run does not report the locks of hooks."""

    def watch_transaction(self, number: int) -> AbstractContextManager[Observer]:  # noqa: ARG002
        """Observe nothing while the statement runs; note when its transaction began."""
        self._began_s = time.perf_counter()
        return nullcontext(NoObserver())

    def take_locks(self, held: HeldRows) -> None:
        """Add the locks of one statement."""
        if held:
            known = read_existing_before(self.keeper_conn, {oid for oid, _ in held})
            held_ms = (time.perf_counter() - self._began_s) * 1000
            locks = add_held_ms(list_strongest_locks(held, known), known, dict.fromkeys(held, held_ms))
            # Of equally strong locks the first stays, which is to be the longest held.
            longest_first = sorted((*self.locks, *locks), key=lambda lock: -(lock.held_ms or 0.0))
            self.locks = merge_locks((), tuple(longest_first))

    def watch_statement(
        self,
        number: int,  # noqa: ARG002 - the protocol's
        sql: str,  # noqa: ARG002
        line: int | None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Observe nothing while the statement runs."""
        return nullcontext()

    def note_unseen(self, line: int | None) -> None:
        """Note that the locks of the statement, or of all Python, were released before they were read."""
        reason = f"line {line} commits by itself and releases its locks when it ends"
        if line is None:
            reason = "a no-transaction Python migration releases the locks of each statement before its next"
        self.not_seen += (NotSeen(None, "locks", reason),)

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with the locks of all statements and what they block."""
        return evolve(report, locks=self.locks, blocks=collect_blocks(self.locks), not_seen=self.not_seen)


def read_existing_before(keeper_conn: Connection[Any], oids: Iterable[int]) -> dict[int, RelationName]:
    """Return the relations that the keeper's connection sees, which existed before the migration.

    The keeper is READ COMMITTED and never writes, so it does not see what is not committed yet.

    Raises:
        LockFault: The connection is lost, and the migration lock with it.
    """
    try:
        return read_relations(keeper_conn, oids)
    except OperationalError as error:
        raise build_lock_lost_fault() from error
