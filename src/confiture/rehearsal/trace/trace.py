"""Look on while a plan is rehearsed: before each migration, and after every statement and hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from attrs import define, field
from psycopg import Connection, Cursor

from confiture.engine.blockers import LockWaitMonitor
from confiture.hooks.hook_observer import Results
from confiture.models.report import MigrationReport
from confiture.postgres.session import send
from confiture.rehearsal.trace.auto_explain import AutoExplain, read_explain, wrap_in_explain
from confiture.rehearsal.trace.diff import MigrationTrace
from confiture.rehearsal.trace.event_triggers import EventTriggerTracer
from confiture.rehearsal.trace.expected_locks import (
    collect_texts,
    describe_hook_locks,
    describe_refusal,
    find_held_before,
    find_hidden,
    remove_ddl,
)
from confiture.rehearsal.trace.functions import (
    ReachedBody,
    find_all_not_seen,
    follow_calls,
    read_function_names,
)
from confiture.rehearsal.trace.snapshot import (
    SNAPSHOT_SQL,
    Snapshot,
    measure_bytes,
    parse_snapshot,
    read_new_indexes,
    take_first_snapshot,
)
from confiture.rehearsal.trace.steps import StatementTrace
from confiture.rehearsal.trace.trace_report import add_trace
from confiture.sql.statement_kind import classify_statement

# The text of a load of data is not read for what it calls.
_MOST_READ_CHARS = 100_000


@define
class Tracer:
    """Watches one session.

    Attributes:
        conn: That session.
        lock_monitor: Looks on from another connection.
        migration_trace: The migration that runs.
        auto_explain: Asks for the plans of DML, where they are wanted.
    """

    conn: Connection[Any]
    lock_monitor: LockWaitMonitor
    migration_trace: MigrationTrace = field(factory=MigrationTrace)
    auto_explain: AutoExplain | None = None
    _statement_steps: list[StatementTrace] = field(factory=list)
    _hook_steps: list[StatementTrace] = field(factory=list)
    _hook_snapshots: list[Snapshot] = field(factory=list)
    _event_triggers: EventTriggerTracer = field(init=False)
    _paused_ms: float = 0.0
    _inner_bodies: tuple[ReachedBody, ...] = ()
    _function_names: frozenset[str] | None = None

    @_event_triggers.default
    def _create_event_triggers(self) -> EventTriggerTracer:
        return EventTriggerTracer(self.conn)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Receive what the event triggers and auto_explain report, for as long as a plan runs."""
        with (
            self._event_triggers.listen(),
            self.auto_explain.listen() if self.auto_explain else nullcontext(),
        ):
            yield

    def now_ms(self) -> float:
        """Return the client's clock, less the time that our own looking took."""
        return time.perf_counter() * 1000 - self._paused_ms

    @contextmanager
    def _pause_clock(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._paused_ms += (time.perf_counter() - began) * 1000

    def reset(self) -> None:
        """Forget the previous migration."""
        self.migration_trace = MigrationTrace()
        self._statement_steps, self._hook_steps, self._hook_snapshots = [], [], []

    def opening_sql(self, *, shared: bool) -> str:  # noqa: ARG002 - the protocol's
        """Send nothing with the first message: the first snapshot is several queries."""
        return ""

    def begin(self, answers: Sequence[Any], *, shared: bool, hooks: bool) -> None:  # noqa: ARG002
        """Take the first snapshot of a migration; with ``hooks``, see inside what they run."""
        with self._pause_clock():
            self._event_triggers.mark_removed()
            self._function_names = None
            first, scans, catalog = take_first_snapshot(self.conn)
            self.migration_trace = MigrationTrace(catalog, first, scans)
            if hooks:
                self._event_triggers.install()

    def before_statement(self, sql: str) -> None:
        """Make ready to look inside a statement that may run procedures, and for its plan."""
        with self._pause_clock():
            self._inner_bodies = (
                self._read_inner_bodies(sql) if classify_statement(sql).may_run_functions else ()
            )
            if self.auto_explain and classify_statement(sql).changes_rows:
                self.auto_explain.begin()

    def _read_inner_bodies(self, sql: str) -> tuple[ReachedBody, ...]:
        """Read what a statement runs from inside; what may come and go there is looked for while it runs."""
        self._event_triggers.install()
        if self._function_names is None:
            self._function_names = read_function_names(self.conn)
        inner = follow_calls(self.conn, sql, self._function_names) if len(sql) < _MOST_READ_CHARS else ()
        if find_all_not_seen(inner):
            self.lock_monitor.start_sampling()
        return inner

    def after_statement(self, sql: str, duration_ms: float) -> None:
        """Compare snapshots after a statement that took ``duration_ms``."""
        ended_ms = self.now_ms()
        since_ms = ended_ms - duration_ms
        with self._pause_clock():
            plan = (
                self.auto_explain.end()
                if self.auto_explain and classify_statement(sql).changes_rows
                else None
            )
            now = parse_snapshot(send(self.conn, SNAPSHOT_SQL))
        if not classify_statement(sql).is_query:
            self._function_names = None  # it may have made one
        sampled = self.lock_monitor.take_sampled_locks()
        step = self._trace_step((now,), sql, since_ms, ended_ms)
        step.plan = plan
        self.migration_trace.note_sampled(step, sampled, since_ms, ended_ms)
        self._note_unseen(step)
        self._statement_steps.append(step)

    def _note_unseen(self, step: StatementTrace) -> None:
        """Say which locks may have come and gone; event triggers have seen all DDL but what failed."""
        seen = {taken.relation.name for taken in step.acquired}
        inner = remove_ddl(self._inner_bodies) if self._event_triggers.saw_all() else self._inner_bodies
        self.migration_trace.note_unseen(find_all_not_seen(inner, seen))
        if self._event_triggers.refusal and any(body.body.statements for body in self._inner_bodies):
            self.migration_trace.note_unseen((describe_refusal(self._event_triggers.refusal),))
        self._inner_bodies = ()

    def explain_sql(self, sql: str) -> str | None:
        """Return the EXPLAIN to execute in a statement's place, if auto_explain could not be loaded."""
        if (
            self.auto_explain is None
            or self.auto_explain.loaded is not False
            or not classify_statement(sql).changes_rows
        ):
            return None
        return wrap_in_explain(sql)

    def read_plan(self, cursor: Cursor[Any]) -> tuple[Any, int | None]:
        """Return the plan that such an EXPLAIN gave, and the rows that its statement changed."""
        return read_explain(cursor)

    @property
    def snapshot_sql(self) -> str:
        """SQL that takes a snapshot, to be appended to a message of the guard."""
        return f"{SNAPSHOT_SQL};"

    def take_snapshots(self, results: Results, count: int = 1) -> Results:
        """Keep the last ``count`` snapshots of these results and return the rest, which are the guard's."""
        first = len(results) - 2 * count
        self._hook_snapshots += [parse_snapshot(results[at : at + 2]) for at in range(first, len(results), 2)]
        return results[:first]

    def end_hook(self, since_ms: float) -> None:
        """Compare the snapshots that were sent with a hook's control messages."""
        looks, self._hook_snapshots = self._hook_snapshots, []
        if self.migration_trace.held_before and self._may_have_run_ddl():
            self.migration_trace.note_unseen((describe_hook_locks(),))
        self._hook_steps.append(self._trace_step(looks, None, since_ms, self.now_ms()))

    def _trace_step(
        self, snapshots: Sequence[Snapshot], sql: str | None, since_ms: float, ended_ms: float
    ) -> StatementTrace:
        waited_ms = self.lock_monitor.take_waited_ms()
        step = StatementTrace(lock_wait_ms=waited_ms)
        following = self.migration_trace
        following.steps.append(step)
        self._note_held_before(step, sql, since_ms)
        for snapshot in (*self._event_triggers.take_snapshots(), *snapshots):
            following.compare(step, snapshot, sql, since_ms + waited_ms, ended_ms)
        following.note_rewrite_reasons(step, self._event_triggers.take_reasons())
        with self._pause_clock():
            new = frozenset().union(*map(following.take_unknown, snapshots))
            following.note_built(step, read_new_indexes(self.conn, new))
            step.rewritten_bytes = measure_bytes(self.conn, step.rewritten)
        return step

    def _may_have_run_ddl(self) -> bool:
        """Whether a step has run DDL, by its event triggers; without them, whether it may have."""
        return bool(self._event_triggers.snapshots or self._event_triggers.refusal)

    def _note_held_before(self, step: StatementTrace, sql: str | None, since_ms: float) -> None:
        following = self.migration_trace
        if sql is None or not following.held_before:
            return
        with self._pause_clock():
            for text in collect_texts(sql, self._inner_bodies):
                path = following.last_snapshot.search_path
                held = find_held_before(text, following.catalog, following.held_before, path) if text else ()
                following.note_held_before(step, held, since_ms)
                if text or self._may_have_run_ddl():
                    following.note_unseen(find_hidden(text))

    def end(self, held: Sequence[Any]) -> None:
        """Take what is held just before the end, deferred triggers included."""
        self.migration_trace.end(frozenset(held), self.now_ms())

    def leave(self) -> None:
        """Leave nothing of our own in a transaction that is about to be committed."""
        with self._pause_clock():
            self._event_triggers.remove()

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report of the migration with what its steps saw."""
        return self.capture_trace()(report)

    def capture_trace(self) -> Callable[[MigrationReport], MigrationReport]:
        """Return what adds the steps so far to a report, whatever is traced next."""
        if not self.migration_trace.end_ms:
            self.migration_trace.end_ms = self.now_ms()
        return partial(
            add_trace,
            migration_trace=self.migration_trace,
            statements=self._statement_steps,
            hooks=self._hook_steps,
        )
