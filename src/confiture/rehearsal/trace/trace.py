"""Look on while a plan is rehearsed: before each migration, and after every statement and hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from attrs import define, field
from psycopg import Connection, Cursor

from confiture.engine.blockers import Blockers
from confiture.hooks.hook_observer import Results
from confiture.models.report import MigrationReport
from confiture.postgres.session import send
from confiture.rehearsal.trace.auto_explain import Plans, unwrapped, wrapped
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
from confiture.rehearsal.trace.snapshot import LOOK, Look, answered, base, bytes_of, new_indexes
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
    _statement_steps: list[Step] = field(factory=list)
    _hook_steps: list[Step] = field(factory=list)
    _hook_looks: list[Look] = field(factory=list)
    _events: Events = field(init=False)
    _looking_ms: float = 0.0
    _inner: tuple[Reached, ...] = ()
    _functions: frozenset[str] | None = None

    @_events.default
    def _listen(self) -> Events:
        return Events(self.conn)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Receive what the event triggers and auto_explain report, for as long as a plan runs."""
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

    def reset(self) -> None:
        """Forget the previous migration."""
        self.following = Following()
        self._statement_steps, self._hook_steps, self._hook_looks = [], [], []

    def opening_sql(self, *, shared: bool) -> str:  # noqa: ARG002 - the protocol's
        """Send nothing with the first message: the first snapshot is several queries."""
        return ""

    def begin(self, answers: Sequence[Any], *, shared: bool, hooks: bool) -> None:  # noqa: ARG002
        """Take the first snapshot of a migration; with ``hooks``, see inside what they run."""
        with self._looking():
            self._events.forget()
            self._functions = None
            first, scans, catalog = base(self.conn)
            self.following = Following(catalog, first, scans)
            if hooks:
                self._events.set()

    def before_statement(self, sql: str) -> None:
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

    def after_statement(self, sql: str, duration_ms: float) -> None:
        """Compare snapshots after a statement that took ``duration_ms``."""
        ended_ms = self.now_ms()
        since_ms = ended_ms - duration_ms
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
        self._statement_steps.append(step)

    def _say_unseen(self, step: Step) -> None:
        """Say which locks may have come and gone; event triggers have seen all DDL but what failed."""
        seen = {taken.known.name for taken in step.taken}
        inner = without_ddl(self._inner) if self._events.saw_all() else self._inner
        self.following.unseen(all_not_seen(inner, seen))
        if self._events.refused and any(each.found.statements for each in self._inner):
            self.following.unseen((within(self._events.refused),))
        self._inner = ()

    def explain_sql(self, sql: str) -> str | None:
        """Return the EXPLAIN to execute in a statement's place, if auto_explain could not be loaded."""
        if self.plans is None or self.plans.loaded is not False or not statement_kind(sql).changes_rows:
            return None
        return wrapped(sql)

    def read_plan(self, cursor: Cursor[Any]) -> tuple[Any, int | None]:
        """Return the plan that such an EXPLAIN gave, and the rows that its statement changed."""
        return unwrapped(cursor)

    @property
    def snapshot_sql(self) -> str:
        """SQL that takes a snapshot, to be appended to a message of the guard."""
        return f"{LOOK};"

    def take_snapshots(self, results: Results, count: int = 1) -> Results:
        """Keep the last ``count`` snapshots of these results and return the rest, which are the guard's."""
        first = len(results) - 2 * count
        self._hook_looks += [answered(results[at : at + 2]) for at in range(first, len(results), 2)]
        return results[:first]

    def end_hook(self, since_ms: float) -> None:
        """Compare the snapshots that were sent with a hook's control messages."""
        looks, self._hook_looks = self._hook_looks, []
        if self.following.before and self._may_have_run_ddl():
            self.following.unseen((of_hooks(),))
        self._hook_steps.append(self._step(looks, None, since_ms, self.now_ms()))

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

    def end(self, held: Sequence[Any]) -> None:
        """Take what is held just before the end, deferred triggers included."""
        self.following.end(frozenset(held), self.now_ms())

    def leave(self) -> None:
        """Leave nothing of our own in a transaction that is about to be committed."""
        with self._looking():
            self._events.take_away()

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report of the migration with what its steps saw."""
        return self.result()(report)

    def result(self) -> Callable[[MigrationReport], MigrationReport]:
        """Return what adds the steps so far to a report, whatever is traced next."""
        if not self.following.end_ms:
            self.following.end_ms = self.now_ms()
        return partial(
            traced, following=self.following, statements=self._statement_steps, hooks=self._hook_steps
        )
