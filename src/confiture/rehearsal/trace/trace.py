"""Trace a rehearsal: take a snapshot before each migration, and after every statement and hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from attrs import define, field
from psycopg import Connection, Cursor

from confiture.engine.blockers import LockWaitMonitor
from confiture.hooks.hook_observer import Results
from confiture.ledger.table import Ledger
from confiture.models.lock_mode import STRONG_MODES
from confiture.models.report import MigrationReport
from confiture.postgres.session import send
from confiture.rehearsal.trace.auto_explain import AutoExplain, read_explain, wrap_in_explain
from confiture.rehearsal.trace.catalog import CatalogChanges
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
from confiture.rehearsal.trace.outward_watch import OutwardWatch
from confiture.rehearsal.trace.plan_comparison import PlanPair, ProductionPlanner
from confiture.rehearsal.trace.proven import ProvenStatements
from confiture.rehearsal.trace.snapshot import (
    SNAPSHOT_SQL,
    SessionState,
    Snapshot,
    measure_bytes,
    parse_snapshot,
    read_new_indexes,
    render_closing_sql,
    render_reached_sql,
)
from confiture.rehearsal.trace.steps import StatementTrace
from confiture.rehearsal.trace.trace_report import add_trace
from confiture.sql.procedural import parse_body
from confiture.sql.statement_kind import classify_statement

# A longer text is most likely a load of data: it is not parsed for the functions that it calls.
_MOST_READ_CHARS = 100_000
# How old the last sign of the migration lock may be when a migration ends. To look for it is to read all
# locks; a rehearsal commits nothing, so it may notice late that the lock is lost.
_LOCK_CHECK_MS = 1000.0


@define
class Tracer:
    """Traces the migrations that one connection rehearses.

    Attributes:
        conn: The migration's connection.
        lock_monitor: Observes the session from another connection.
        ledger: Records the migrations.
        migration_trace: The trace of the current migration.
        auto_explain: Collects the plans of DML; ``None`` without ``--explain``.
        outward: Refuses statements that reach outside of the transaction.
        production_planner: Plans statements as production would; ``None`` without ``--production``.
    """

    conn: Connection[Any]
    lock_monitor: LockWaitMonitor
    ledger: Ledger
    migration_trace: MigrationTrace = field(factory=MigrationTrace)
    auto_explain: AutoExplain | None = None
    outward: OutwardWatch = field(init=False)
    production_planner: ProductionPlanner | None = None
    # Of the statement that runs: its plans, the bodies that it executes, the relations to ask about after it
    # (`None` if its locks are read instead), and the snapshot that came back with it.
    _plans: PlanPair | None = None
    _inner_bodies: tuple[ReachedBody, ...] = ()
    _reached: tuple[int, ...] | None = None
    _followed: Snapshot | None = None
    _statement_steps: list[StatementTrace] = field(factory=list)
    _hook_steps: list[StatementTrace] = field(factory=list)
    _hook_snapshots: list[Snapshot] = field(factory=list)
    _event_triggers: EventTriggerTracer = field(init=False)
    _state: SessionState = field(factory=SessionState)
    _paused_ms: float = 0.0
    _function_names: frozenset[str] | None = None
    _ignored: frozenset[int] = frozenset()
    # True once a migration has ended with a snapshot, which the next one of the transaction begins with.
    _closed: bool = False
    _changes: CatalogChanges | None = None
    _proven: ProvenStatements = field(init=False)
    # True while statements were traced without their locks, and `_state` is behind pg_locks.
    _unread: bool = False
    _checks: bool = False
    _sql_only: bool = False
    _lock_seen_ms: float = -_LOCK_CHECK_MS

    @outward.default
    def _create_outward_watch(self) -> OutwardWatch:
        return OutwardWatch(self.conn)

    @_proven.default
    def _create_proven(self) -> ProvenStatements:
        # Of these, the plan is read in another way.
        plans = self.auto_explain is not None or self.production_planner is not None
        return ProvenStatements(self.conn, self.ledger, proves_rows=not plans)

    @_event_triggers.default
    def _create_event_triggers(self) -> EventTriggerTracer:
        return EventTriggerTracer(self.conn)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Receive the notices of event triggers and auto_explain while a plan runs."""
        with (
            self._event_triggers.listen(),
            self.auto_explain.listen() if self.auto_explain else nullcontext(),
        ):
            yield

    def read_clock_ms(self) -> float:
        """Return the client's clock, in milliseconds, without the time that tracing took."""
        return time.perf_counter() * 1000 - self._paused_ms

    @contextmanager
    def _pause_clock(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._paused_ms += (time.perf_counter() - began) * 1000

    def ignore_relations(self, oids: Iterable[int]) -> None:
        """Leave out these relations and the locks on them, which the rehearsal itself has created."""
        self._ignored = frozenset(oids)
        self._state.ignore(self._ignored)

    def reset(self) -> None:
        """Forget the previous migration."""
        self.migration_trace = MigrationTrace()
        self._statement_steps, self._hook_steps, self._hook_snapshots = [], [], []

    def render_opening_sql(self, *, shared: bool) -> str:
        """Return the queries that read the state before the migration."""
        keeps_facts = shared and self._closed
        self._changes = self._proven.find_changes() if keeps_facts and self._state.is_recent else None
        return self._state.render_begin_sql(keeps_facts=keeps_facts, changes=self._changes)

    def begin(
        self,
        answers: Sequence[Any],
        *,
        shared: bool,
        hooks: bool,
        sql_only: bool,
    ) -> None:
        """Take the first snapshot of a migration; with ``hooks``, install the event triggers too."""
        # A statement outside a transaction may have waited, for our pins too: the next one has not.
        self.lock_monitor.take_waited_ms()
        with self._pause_clock():
            # The session is reset between migrations: DISCARD TEMP drops the triggers' function, and them.
            self._event_triggers.mark_removed()
            self._function_names = None
            keeps_facts = shared and self._closed
            self._state.begin(self.conn, answers, keeps_facts=keeps_facts, changes=self._changes)
            if keeps_facts:
                self._state.held |= self._proven.find_held(self._state.catalog)
            else:
                self._unread = False
            self._sql_only = sql_only and not hooks
            self._proven.begin(sql_only=self._sql_only)
            self._closed = False
            self.migration_trace = trace = MigrationTrace(self._state)
            if self._ignored:
                trace.held_before -= {(oid, mode) for oid in self._ignored for mode in STRONG_MODES}
            if hooks:
                self._event_triggers.install()

    def before_statement(self, sql: str) -> None:
        """Prepare to trace inside a statement that may call functions, and to collect its plan.

        Raises:
            Exception: It reaches outside of the transaction, and is not to be sent.
        """
        with self._pause_clock():
            self._inner_bodies, self._followed = (), None
            self._reached = self._find_reached(sql)
            if self._reached is None:
                self._prepare_unproven(sql)
            self._plans = self._compare_plans(sql)
            if self.auto_explain and classify_statement(sql).changes_rows:
                self.auto_explain.begin()
            self.lock_monitor.note_statement()

    def _prepare_unproven(self, sql: str) -> None:
        may_run_functions = classify_statement(sql).may_run_functions
        self._inner_bodies = self._read_inner_bodies(sql) if may_run_functions else ()
        trace = self.migration_trace
        bodies = self._inner_bodies or self._read_expressions(sql)
        self.outward.check(sql, bodies, trace.catalog, trace.state.snapshot.search_path)
        if may_run_functions:
            self._prepare_inner(sql, self._inner_bodies)
        elif self._proven.changed_rows:
            # They tell why a table is rewritten, as after a change of rows that was not proven.
            self._event_triggers.install()

    def _find_reached(self, sql: str) -> tuple[int, ...] | None:
        """Return what to ask about after a statement; ``None`` if its locks must be read, as before it."""
        trace = self.migration_trace
        reached = self._proven.find_reached(
            sql, trace.catalog, trace.held_before, trace.state.snapshot.search_path
        )
        if reached is None:
            self._catch_up()
        return reached

    def _catch_up(self) -> None:
        """Read the locks of the statements that were traced without it."""
        if self._unread:
            self.migration_trace.catch_up(parse_snapshot(send(self.conn, SNAPSHOT_SQL)))
            self._unread = False

    def _compare_plans(self, sql: str) -> PlanPair | None:
        """Return the plans here and in production of a statement that reads rows, if they differ."""
        kind = classify_statement(sql)
        # Not of several statements in one text: EXPLAIN would explain the first, and run the others.
        explained = (kind.is_query and kind.changes_rows) or kind.fills_relation
        if self.production_planner is None or not explained:
            return None
        pair = self.production_planner.compare(self.conn, sql)
        return pair if pair and pair.differs else None

    def _compare_key_checks(self, sql: str) -> PlanPair | None:
        """Return the plans of a foreign key's check that differ, after the statement that checked it."""
        keys = classify_statement(sql).validated_keys
        if self.production_planner is None or not keys:
            return None
        return self.production_planner.compare_key_checks(self.conn, keys)

    def _read_expressions(self, sql: str) -> tuple[ReachedBody, ...]:
        """Return what the expressions of ALTER TABLE call for each row: in DEFAULT, USING and CHECK."""
        if classify_statement(sql).node != "alter_table_stmt" or not parse_body(sql).calls:
            return ()
        return self._read_inner_bodies(sql)

    def _read_inner_bodies(self, sql: str) -> tuple[ReachedBody, ...]:
        """Return the texts that a statement executes."""
        if self._function_names is None:
            self._function_names = read_function_names(self.conn)
        return follow_calls(self.conn, sql, self._function_names) if len(sql) < _MOST_READ_CHARS else ()

    def _prepare_inner(self, sql: str, inner: tuple[ReachedBody, ...]) -> None:
        """Prepare to trace inside these texts; sample locks if one may be released inside them."""
        kind = classify_statement(sql)
        # Creating the triggers writes to the catalog, and a logical replication slot is refused once the
        # transaction has written anything. A query that calls no function of the user's runs no DDL.
        if kind.node != "select_stmt" or kind.changes_rows or len(inner) != 1:
            self._event_triggers.install()
        if find_all_not_seen(inner):
            self.lock_monitor.start_sampling()

    @property
    def follow_up_sql(self) -> str:
        """The snapshot of a proven statement: it takes no lock that could make it wait."""
        return "" if self._reached is None else render_reached_sql(self._reached)

    def take_follow_up(self, answers: Results) -> float:
        """Keep that snapshot, and return how long it took, in milliseconds."""
        (((began_s, facts, wal, search_path, ended_s),),) = answers
        self._followed = Snapshot.parse(facts, wal, search_path)
        took_ms = 1000 * (ended_s - began_s)
        self._paused_ms += took_ms
        return float(took_ms)

    def after_statement(self, sql: str, duration_ms: float) -> None:
        """Compare snapshots after a statement that took ``duration_ms``."""
        ended_ms = self.read_clock_ms()
        since_ms = ended_ms - duration_ms
        with self._pause_clock():
            plan = (
                self.auto_explain.end()
                if self.auto_explain and classify_statement(sql).changes_rows
                else None
            )
            self._plans = self._plans or self._compare_key_checks(sql)
            proven = self._followed is not None
            now = self._followed or parse_snapshot(send(self.conn, SNAPSHOT_SQL))
        if not classify_statement(sql).is_query:
            self._function_names = None  # the statement may have created a function
            self.outward.note_ran(sql)
        sampled = self.lock_monitor.take_sampled_locks()
        self._unread = self._unread or proven
        step = self._trace_step((now,), sql, since_ms, ended_ms, proven=proven)
        step.plan = plan or (self._plans.here if self._plans else None)
        step.production_plan = self._plans.there if self._plans else None
        self.migration_trace.note_sampled(step, sampled, since_ms, ended_ms)
        self._note_unseen(step)
        self._statement_steps.append(step)

    def _note_unseen(self, step: StatementTrace) -> None:
        """Add the locks of the last statement that may have been released unobserved."""
        seen = {acquired.relation.name for acquired in step.acquired}
        # A command that failed under EXCEPTION fired no ddl_command_end, so its locks were not observed.
        inner = remove_ddl(self._inner_bodies) if self._event_triggers.saw_all() else self._inner_bodies
        self.migration_trace.note_unseen(find_all_not_seen(inner, seen))
        if self._event_triggers.refusal and any(body.body.statements for body in self._inner_bodies):
            self.migration_trace.note_unseen((describe_refusal(self._event_triggers.refusal),))
        self._inner_bodies = ()

    def explain_sql(self, sql: str) -> str | None:
        """Return the EXPLAIN to execute instead of a statement, if auto_explain could not be loaded."""
        if (
            self.auto_explain is None
            or self.auto_explain.loaded is not False
            or not classify_statement(sql).changes_rows
        ):
            return None
        return wrap_in_explain(sql)

    def read_plan(self, cursor: Cursor[Any]) -> tuple[Any, int | None]:
        """Return the plan of that EXPLAIN, and the number of rows that its statement changed."""
        return read_explain(cursor)

    @property
    def snapshot_sql(self) -> str:
        """SQL that takes a snapshot. The guard appends it to its message: no extra round trip."""
        return f"{SNAPSHOT_SQL};"

    def take_snapshots(self, results: Results, count: int = 1) -> Results:
        """Keep the last ``count`` snapshots of these results and return the rest, which are the guard's."""
        # Each snapshot has two results: the locks, and the position of the write-ahead log.
        first = len(results) - 2 * count
        self._hook_snapshots += [parse_snapshot(results[at : at + 2]) for at in range(first, len(results), 2)]
        return results[:first]

    def end_hook(self, since_ms: float) -> None:
        """Compare the snapshots that were sent with a hook's control messages."""
        snapshots, self._hook_snapshots = self._hook_snapshots, []
        if self.migration_trace.held_before and self._may_have_run_ddl():
            self.migration_trace.note_unseen((describe_hook_locks(),))
        self._hook_steps.append(self._trace_step(snapshots, None, since_ms, self.read_clock_ms()))

    def _trace_step(
        self,
        snapshots: Sequence[Snapshot],
        sql: str | None,
        since_ms: float,
        ended_ms: float,
        *,
        proven: bool = False,
    ) -> StatementTrace:
        waited_ms = self.lock_monitor.take_waited_ms()
        step = StatementTrace(lock_wait_ms=waited_ms)
        trace = self.migration_trace
        trace.steps.append(step)

        self._note_held_before(step, sql, since_ms, proven=proven)
        # Before the files are compared: they show that an empty table with a new file was not truncated.
        trace.note_rewrite_reasons(step, self._event_triggers.take_reasons())
        # No event trigger tells of CLUSTER.
        statements = (statement for body in self._inner_bodies for statement in body.body.statements)
        step.clusters = any(statement.kind == "cluster_stmt" for statement in statements)
        for snapshot in (*self._event_triggers.take_snapshots(), *snapshots):
            if proven and sql is not None:
                trace.note_reached(step, snapshot, sql)
            else:
                trace.compare(step, snapshot, sql, since_ms + waited_ms, ended_ms)
        with self._pause_clock():
            trace.note_built(step, read_new_indexes(self.conn, trace.take_unknown()))
            step.rewritten_bytes = measure_bytes(self.conn, step.rewritten)
        return step

    def _may_have_run_ddl(self) -> bool:
        """Return True if an event trigger has fired, or if the role may not create any."""
        return bool(self._event_triggers.snapshots or self._event_triggers.refusal)

    def _note_held_before(
        self, step: StatementTrace, sql: str | None, since_ms: float, *, proven: bool
    ) -> None:
        trace = self.migration_trace
        if sql is None or not trace.held_before:
            return
        with self._pause_clock():
            for text in collect_texts(sql, self._inner_bodies):
                path = trace.state.snapshot.search_path
                # Of a proven statement every lock is hidden by the stronger one on the same relation.
                before = None if proven else trace.held_before
                held = find_held_before(text, trace.catalog, before, path) if text else ()
                trace.note_held_before(step, held, since_ms)
                if text or self._may_have_run_ddl():
                    trace.note_unseen(find_hidden(text))

    @property
    def left_nothing(self) -> bool:
        """True if each statement is proven to change no rows, and to run no function that sets anything.

        Not of a ledger that others have changed: there the end of each migration may fail.
        """
        proven = self._proven
        return proven.active and proven.ledger_unchanged and not proven.changed_rows

    def render_closing_sql(self, lock_condition: str, *, checks: bool) -> str:
        """Return SQL that takes a snapshot, and tells if the migration lock is held.

        Return nothing if no hook and no deferred trigger runs after the last statement's snapshot, and the
        migration lock was held a moment ago.
        """
        self._checks = checks
        if checks:
            with self._pause_clock():
                self._catch_up()
        recent = time.perf_counter() * 1000 - self._lock_seen_ms < _LOCK_CHECK_MS
        return "" if self._sql_only and recent and not checks else render_closing_sql(lock_condition)

    def close(self, answers: Results) -> bool:
        """Note the last snapshot, which the next migration of the transaction begins with."""
        at_ms, before = self.read_clock_ms(), self._state.held
        with self._pause_clock():
            if answers:
                ((facts, kept),), ((wal, search_path),) = answers
                if not kept:
                    return False
                self._lock_seen_ms = time.perf_counter() * 1000
                self._state.take(Snapshot.parse(facts, wal, search_path))
                self._unread = False
            # Without a check no trigger of a deferred constraint runs, which would take locks.
            held = before if self._proven.active and not self._checks else self._state.held
            self.migration_trace.end(before, held, at_ms)
        self._closed = True
        return True

    def end(self, held: Sequence[Any]) -> None:
        """Note the locks just before the end, including those of deferred triggers."""
        self.migration_trace.end(self._state.held, frozenset(held), self.read_clock_ms())

    def leave(self) -> None:
        """Drop the event triggers before the transaction is committed, as it is in a copy."""
        with self._pause_clock():
            self._event_triggers.remove()

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report of the migration with its trace."""
        return self.capture_trace()(report)

    def capture_trace(self) -> Callable[[MigrationReport], MigrationReport]:
        """Return a function that adds the trace so far to a report; it stays valid after ``reset``."""
        if not self.migration_trace.end_ms:
            self.migration_trace.end_ms = self.read_clock_ms()
        return partial(
            add_trace,
            migration_trace=self.migration_trace,
            statements=self._statement_steps,
            hooks=self._hook_steps,
        )
