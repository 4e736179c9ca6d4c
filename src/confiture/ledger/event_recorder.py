"""Record during a run what happens to each migration, and the schema before and after it.

An event is written in the migration's own transaction. The schema is read after the commit, because it takes
longer than a small migration, which would hold its locks all that time. A run of many small migrations does
not read it after each: reading may cost 1.5 % of the time that the migrations take, and ``FREE_MS`` more, so
that a short run reads it every time. It is always read before the first migration and after the last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
from attrs import define, field
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.exceptions import UserFault, describe_error
from confiture.ledger.event_table import BEGIN_READING, EventTable
from confiture.models.event import EventLock, NewEvent
from confiture.postgres.session import KEPT_PLAN, Session, fetch_rows, quote_literal, send
from confiture.postgres.signals import hold_signals

FREE_MS = 250.0
_SHARE = 0.015
# A plan is kept for at least so many migrations.
_PLAN_LASTS = 10
_SHOWN = 5


@define
class EventRecorder:
    """Writes the events of one run.

    Attributes:
        session: The session in which the migrations run.
        table: The events.
        reconnect: Opens a new connection if the session's is lost.
        warnings: What could not be recorded.
    """

    session: Session
    table: EventTable
    reconnect: Callable[[], Connection[Any]]
    warnings: list[str] = field(factory=list)
    # The number of the last event; the schema's fingerprint after it, if it was read; and the events after
    # which it was not read yet.
    _number: int = 0
    _fingerprint: str | None = None
    _unread: list[int] = field(factory=list)
    # As JSON: the objects that others had changed before the run. Recording them would hide that drift.
    _outside: str = "[]"
    _keeps_plan: bool = False
    # The events before the first migration of the run, and when the plan was made.
    _first: int = 0
    _planned_at: int | None = None
    _began_s: float = field(factory=time.perf_counter)
    _cost_ms: float = 0.0
    _spent_ms: float = 0.0

    def begin(self) -> None:
        """Read the schema and the number of the last event, before the first migration."""
        if not self.session.nested:
            answers = self._read_schema(self.table.render_begin_query(self._version))
            if answers:
                ((self._number, pid, self._fingerprint, outside, taken),) = answers
                self._outside = json.dumps(outside or [])
                if taken:
                    self.warnings.append(_describe_taken(taken))
                # A pooler invents the process id that it reports, and the next transaction may be in another
                # server process, which has no plan.
                self._keeps_plan = self.session.owned and pid == self.session.conn.info.backend_pid
                self._first = self._number
        if not self._number:
            self._number = self._read_last_number()
        self._began_s = time.perf_counter()

    @property
    def _version(self) -> int:
        return self.session.conn.info.server_version

    def _read_last_number(self) -> int:
        with self.session.transaction():
            return int(fetch_rows(self.session.conn, self.table.render_last_sql())[0][0])

    def render_success_sql(self, event: NewEvent) -> str:
        """Return SQL that records a migration in its transaction."""
        return self.table.render_insert_sql(self._number + 1, event, self._fingerprint)

    def render_locks_sql(self, locks: tuple[EventLock, ...], duration_ms: float) -> str:
        """Return SQL that adds the locks, which are known only after the event was sent."""
        return self.table.render_locks_sql(self._number + 1, locks, duration_ms)

    def end_migration(self) -> None:
        """Note that the migration is committed, and read the schema after it if that is cheap enough."""
        self._number += 1
        self._fingerprint, self._unread = None, [self._number]
        elapsed_ms = (time.perf_counter() - self._began_s) * 1000
        if self._spent_ms + self._cost_ms <= FREE_MS + _SHARE * elapsed_ms:
            self.observe_schema()

    def record_failure(self, event: NewEvent) -> None:
        """Record a failed migration, after its rollback and in a new transaction."""
        sql = self.table.render_insert_sql(self._number + 1, event, self._fingerprint)
        try:
            with hold_signals():
                self._write(sql if self.session.nested else f"SET LOCAL lock_timeout = '5s'; {sql}")
        except (psycopg.Error, UserFault, UnicodeError) as error:
            self._warn("the failure could not be recorded as an event", error)
            return
        except KeyboardInterrupt:
            pass  # the run ends with the failure anyway
        self._number += 1
        # In a transaction it changed nothing, so the schema after it is also the one after the event before.
        self._unread = [*(self._unread if event.transactional else ()), self._number]

    def _write(self, sql: str) -> None:
        if not self.session.lost:
            with self.session.transaction():
                send(self.session.conn, sql)
            return
        with closing(self.reconnect()) as conn, Session(conn, owned=True).transaction():
            send(conn, sql)

    def observe_schema(self) -> None:
        """Read the schema after the last event, if that was not done yet."""
        if not self._unread or self.session.nested or self.session.lost:
            return
        began_s = time.perf_counter()
        with hold_signals():
            answers = self._observe()
        self._spent_ms += (time.perf_counter() - began_s) * 1000
        if answers:
            self._unread = []
            self._fingerprint = answers[0][0]

    def _read_schema(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows; none, and a warning, if the schema cannot be read."""
        began_s = time.perf_counter()
        try:
            return fetch_rows(self.session.conn, f"{BEGIN_READING} {query}; COMMIT")
        except psycopg.errors.InvalidSqlStatementName:
            self._roll_back()
            raise
        except psycopg.Error as error:
            self._roll_back()
            self._warn("the schema's fingerprint could not be read", error)
            return []
        finally:
            self._cost_ms = (time.perf_counter() - began_s) * 1000

    def _observe(self) -> list[tuple[Any, ...]]:
        numbers = quote_literal("{" + ",".join(map(str, self._unread)) + "}")
        outside = quote_literal(self._outside)
        if not self._keeps_plan:
            return self._read_schema(self.table.render_observe_query(self._version, numbers, outside))
        prepare, usual_ms = self._render_prepare_sql(), self._cost_ms
        try:
            rows = self._read_schema(f"{prepare} EXECUTE {KEPT_PLAN} ({numbers}, {outside})")
            # The cost of the next reading, which needs no new plan.
            self._cost_ms = min(usual_ms, self._cost_ms) if prepare else self._cost_ms
            return rows
        except psycopg.errors.InvalidSqlStatementName:
            # A migration has run DEALLOCATE ALL.
            self._planned_at = None
            return self._observe()

    def _render_prepare_sql(self) -> str:
        """Return SQL that makes the plan, if there is none or if it is old; else nothing."""
        planned_at = self._planned_at
        # A plan for a small schema joins a large one in loops. It is renewed when the run has doubled.
        if planned_at is not None and self._number - planned_at <= _PLAN_LASTS + planned_at - self._first:
            return ""
        self._planned_at = self._number
        query = self.table.render_observe_query(self._version, "$1", "$2")
        drop = f"DEALLOCATE {KEPT_PLAN};" if planned_at is not None else ""
        return f"{drop} PREPARE {KEPT_PLAN} (bigint[], jsonb) AS {query};"

    def _roll_back(self) -> None:
        conn = self.session.conn
        if not self.session.lost and conn.info.transaction_status != TransactionStatus.IDLE:
            send(conn, "ROLLBACK")

    def _warn(self, what: str, error: Exception) -> None:
        text = f"warning: {what}: {describe_error(error)}"
        if text not in self.warnings:
            self.warnings.append(text)


def _describe_taken(objects: list[str]) -> str:
    more = f" and {len(objects) - _SHOWN} more" if len(objects) > _SHOWN else ""
    return (
        "warning: the schema was not read after the last migration, and what differs from the record is "
        f"taken for its work: {', '.join(objects[:_SHOWN])}{more}; compare it: "
        "confiture drift --against migrations"
    )
