"""Look on while a plan is rehearsed: before each migration, and after every statement and hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from attrs import define, field
from psycopg import Connection

from confiture.core.session import send
from confiture.core.tracing.events import Events
from confiture.core.tracing.following import Following
from confiture.core.tracing.looking import LOOK, Held, Look, answered, base, new_indexes
from confiture.core.tracing.plans import Plans, is_dml
from confiture.core.tracing.reading import may_run_procedures
from confiture.core.tracing.reporting import traced
from confiture.core.tracing.steps import Step
from confiture.models.report import MigrationReport


@define
class Trace:
    """Watches one session.

    Attributes:
        conn: That session.
        waited_ms: Returns how long it has waited for locks since last asked, in milliseconds.
        following: The migration that runs.
        plans: Asks for the plans of DML, where they are wanted.
    """

    conn: Connection[Any]
    waited_ms: Callable[[], float]
    following: Following = field(factory=Following)
    plans: Plans | None = None
    _events: Events = field(init=False)
    _looking_ms: float = 0.0

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
            first, scans, catalog = base(self.conn)
            self.following = Following(catalog, first, scans)
            if hooks:
                self._events.set()

    def prepare(self, sql: str) -> None:
        """Make ready to look inside a statement that may run procedures, and for its plan."""
        with self._looking():
            if may_run_procedures(sql):
                self._events.set()
            if self.plans and is_dml(sql):
                self.plans.begin()

    def after_statement(self, since_ms: float, sql: str) -> Step:
        """Look after a statement that began at ``since_ms``."""
        ended_ms = self.now_ms()
        with self._looking():
            plan = self.plans.end() if self.plans and is_dml(sql) else None
            now = answered(send(self.conn, LOOK))
        step = self._step((now,), sql, since_ms, ended_ms)
        step.plan = plan
        return step

    def is_wrapped(self, sql: str) -> bool:
        """Whether a statement is to be run inside an EXPLAIN, because its plan is not to be had beside it."""
        return self.plans is not None and self.plans.loaded is False and is_dml(sql)

    def after_hook(self, since_ms: float, looks: Sequence[Look]) -> Step:
        """Take the looks that were sent with a hook's control messages."""
        return self._step(looks, None, since_ms, self.now_ms())

    def _step(self, looks: Sequence[Look], sql: str | None, since_ms: float, ended_ms: float) -> Step:
        waited_ms = self.waited_ms()
        step = Step(lock_wait_ms=waited_ms)
        following = self.following
        following.steps.append(step)
        for each in (*self._events.taken(), *looks):
            following.compare(step, each, sql, since_ms + waited_ms, ended_ms)
        following.explain(step, self._events.reasons_taken())
        with self._looking():
            new = frozenset().union(*map(following.unknown, looks))
            following.built(step, new_indexes(self.conn, new))
        return step

    def end(self, held: list[Held]) -> None:
        """Take what is held just before the end, deferred triggers included."""
        self.following.end(frozenset(held), self.now_ms())

    def traced(
        self, report: MigrationReport, statements: Sequence[Step], hooks: Sequence[Step]
    ) -> MigrationReport:
        """Return the report of the migration with what its steps saw."""
        if not self.following.end_ms:
            self.following.end_ms = self.now_ms()
        return traced(report, self.following, statements, hooks)
