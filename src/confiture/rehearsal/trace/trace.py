"""Look on while a plan is rehearsed: before each migration, and after every statement and hook."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from attrs import define, field
from psycopg import Connection

from confiture.engine.blockers import Blockers
from confiture.models.report import MigrationReport
from confiture.postgres.session import send
from confiture.rehearsal.trace.auto_explain import Plans
from confiture.rehearsal.trace.diff import Following
from confiture.rehearsal.trace.event_triggers import Events
from confiture.rehearsal.trace.expected_locks import (
    held_already,
    hidden,
    of_hooks,
    texts,
    within,
    without_ddl,
)
from confiture.rehearsal.trace.functions import Reached, all_not_seen, defined_names, reached
from confiture.rehearsal.trace.snapshot import LOOK, Held, Look, answered, base, bytes_of, new_indexes
from confiture.rehearsal.trace.steps import Step
from confiture.rehearsal.trace.trace_report import traced
from confiture.sql.statement_kind import statement_kind

# The text of a load of data is not read for what it calls.
_LONGEST_READ = 100_000


@define
class Trace:
    """Watches one session.

    Attributes:
        conn: That session.
        blockers: Looks on from another connection.
        following: The migration that runs.
        plans: Asks for the plans of DML, where they are wanted.
    """

    conn: Connection[Any]
    blockers: Blockers
    following: Following = field(factory=Following)
    plans: Plans | None = None
    _events: Events = field(init=False)
    _looking_ms: float = 0.0
    _inner: tuple[Reached, ...] = ()
    _functions: frozenset[str] | None = None

    @_events.default
    def _listen(self) -> Events:
        return Events(self.conn)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear meanwhile what the event triggers say."""
        with self._events.heard(), self.plans.heard() if self.plans else nullcontext():
            yield

    def now_ms(self) -> float:
        """Return the client's clock, less the time that our own looking took."""
        return time.perf_counter() * 1000 - self._looking_ms

    @contextmanager
    def _looking(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._looking_ms += (time.perf_counter() - began) * 1000

    def begin(self, *, hooks: bool) -> None:
        """Take note of what there is before a migration; with ``hooks``, see inside what they run."""
        with self._looking():
            self._events.forget()
            self._functions = None
            first, scans, catalog = base(self.conn)
            self.following = Following(catalog, first, scans)
            if hooks:
                self._events.set()

    def prepare(self, sql: str) -> None:
        """Make ready to look inside a statement that may run procedures, and for its plan."""
        with self._looking():
            self._inner = self._look_inside(sql) if statement_kind(sql).may_run_functions else ()
            if self.plans and statement_kind(sql).changes_rows:
                self.plans.begin()

    def _look_inside(self, sql: str) -> tuple[Reached, ...]:
        """Read what a statement runs from inside; what may come and go there is looked for while it runs."""
        self._events.set()
        if self._functions is None:
            self._functions = defined_names(self.conn)
        inner = reached(self.conn, sql, self._functions) if len(sql) < _LONGEST_READ else ()
        if all_not_seen(inner):
            self.blockers.sample()
        return inner

    def after_statement(self, since_ms: float, sql: str) -> Step:
        """Look after a statement that began at ``since_ms``."""
        ended_ms = self.now_ms()
        with self._looking():
            plan = self.plans.end() if self.plans and statement_kind(sql).changes_rows else None
            now = answered(send(self.conn, LOOK))
        if not statement_kind(sql).is_query:
            self._functions = None  # it may have made one
        sampled = self.blockers.sampled()
        step = self._step((now,), sql, since_ms, ended_ms)
        step.plan = plan
        self.following.sampled(step, sampled, since_ms, ended_ms)
        self._say_unseen(step)
        return step

    def _say_unseen(self, step: Step) -> None:
        """Say which locks may have come and gone; event triggers have seen all DDL but what failed."""
        seen = {taken.known.name for taken in step.taken}
        inner = without_ddl(self._inner) if self._events.saw_all() else self._inner
        self.following.unseen(all_not_seen(inner, seen))
        if self._events.refused and any(each.found.statements for each in self._inner):
            self.following.unseen((within(self._events.refused),))
        self._inner = ()

    def is_wrapped(self, sql: str) -> bool:
        """Whether a statement is to be run inside an EXPLAIN, because its plan is not to be had beside it."""
        return self.plans is not None and self.plans.loaded is False and statement_kind(sql).changes_rows

    def after_hook(self, since_ms: float, looks: Sequence[Look]) -> Step:
        """Take the looks that were sent with a hook's control messages."""
        if self.following.before and self._may_have_run_ddl():
            self.following.unseen((of_hooks(),))
        return self._step(looks, None, since_ms, self.now_ms())

    def _step(self, looks: Sequence[Look], sql: str | None, since_ms: float, ended_ms: float) -> Step:
        waited_ms = self.blockers.waited_ms()
        step = Step(lock_wait_ms=waited_ms)
        following = self.following
        following.steps.append(step)
        self._held_already(step, sql, since_ms)
        for each in (*self._events.taken(), *looks):
            following.compare(step, each, sql, since_ms + waited_ms, ended_ms)
        following.explain(step, self._events.reasons_taken())
        with self._looking():
            new = frozenset().union(*map(following.unknown, looks))
            following.built(step, new_indexes(self.conn, new))
            step.rewritten_bytes = bytes_of(self.conn, step.rewritten)
        return step

    def _may_have_run_ddl(self) -> bool:
        """Whether a step has run DDL, by its event triggers; without them, whether it may have."""
        return bool(self._events.looks or self._events.refused)

    def _held_already(self, step: Step, sql: str | None, since_ms: float) -> None:
        following = self.following
        if sql is None or not following.before:
            return
        with self._looking():
            for text in texts(sql, self._inner):
                path = following.last.search_path
                held = held_already(text, following.catalog, following.before, path) if text else ()
                following.held_already(step, held, since_ms)
                if text or self._may_have_run_ddl():
                    following.unseen(hidden(text))

    def end(self, held: list[Held]) -> None:
        """Take what is held just before the end, deferred triggers included."""
        self.following.end(frozenset(held), self.now_ms())

    def leave(self) -> None:
        """Leave nothing of our own in a transaction that is about to be committed."""
        with self._looking():
            self._events.take_away()

    def traced(
        self, report: MigrationReport, statements: Sequence[Step], hooks: Sequence[Step]
    ) -> MigrationReport:
        """Return the report of the migration with what its steps saw."""
        if not self.following.end_ms:
            self.following.end_ms = self.now_ms()
        return traced(report, self.following, statements, hooks)
