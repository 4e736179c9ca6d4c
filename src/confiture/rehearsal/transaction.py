"""Rehearse a plan in one transaction, and roll it back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import define, evolve, field
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.engine.runner import MigrationResult, Runner
from confiture.engine.transactional import EndedTransaction, TransactionalAttempt
from confiture.hooks.implementation import HookFatal
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import MigrationReport
from confiture.postgres.locks import HELD_SQL
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.rehearsal.excuse import explain_as_not_rehearsed
from confiture.rehearsal.read_ahead import read_ahead

if TYPE_CHECKING:
    from confiture.engine.blockers import LockWaitMonitor
    from confiture.ledger.table import Ledger
    from confiture.rehearsal.trace.plan_comparison import ProductionPlanner
    from confiture.rehearsal.trace.trace import Tracer

_MAY_COMMIT = ("do_stmt", "call_stmt")


@define
class Rehearsal:
    """One plan, rehearsed in one transaction.

    Attributes:
        runner: Runs each migration in a savepoint.
        not_rehearsed_sql: The SQL of migrations that were not rehearsed; later ones lack what they create.
    """

    runner: Runner
    not_rehearsed_sql: list[str] = field(factory=list)
    _created_ledger: bool = False

    def run(
        self, works: Sequence[PreparedMigration], on_result: Callable[[MigrationResult], None]
    ) -> tuple[MigrationResult, ...]:
        """Rehearse the migrations until the first failure, and roll everything back.

        Raises:
            RightsFault: The role lacks a right that a run needs.
        """
        results: list[MigrationResult] = []
        self.runner.explain_as_not_rehearsed = self._explain_as_not_rehearsed
        with (
            read_ahead(works),
            self.runner.run_context.observer.listen(),
            self.runner.run_context.session.transaction(keep=False),
        ):
            self._create_ledger()
            for work in works:
                results.append(self._rehearse_one(work))
                on_result(results[-1])
                if results[-1].stopped_by:
                    break
        self._drop_committed_ledger(results)
        return tuple(results)

    def _drop_committed_ledger(self, results: Sequence[MigrationResult]) -> None:
        """Drop the ledger that was made for the rehearsal, if a migration or a hook has committed it."""
        session, error = self.runner.run_context.session, results[-1].error if results else None
        ended = isinstance(error, EndedTransaction) or (
            isinstance(error, HookFatal) and error.may_be_committed
        )
        idle = not session.conn.closed and session.conn.info.transaction_status == TransactionStatus.IDLE
        if self._created_ledger and ended and idle:
            self.runner.run_context.ledger.drop(session.conn)

    def _create_ledger(self) -> None:
        """Create the ledger as a run would; it is rolled back with everything else.

        A run commits it before the first migration. If an event trigger locks a user's table meanwhile, the
        locks would hide those of the migrations: the ledger is then created only for each trial of a row.

        Raises:
            RightsFault: The role may not create or write it.
        """
        context = self.runner.run_context
        conn = context.session.conn
        held = set(fetch_rows(conn, HELD_SQL)) if context.session.nested else set()
        with conn.transaction() as savepoint:
            sql = context.ledger.create(conn)
            locked = {oid for oid, _ in set(fetch_rows(conn, HELD_SQL)) - held} if sql else set()
            if _has_foreign(conn, locked, context.ledger.schema):
                self.runner.run_context = evolve(context, create_ledger_sql=sql)
                raise psycopg.Rollback(savepoint)
            self._created_ledger = bool(sql)
            if sql:
                context.observer.ignore_relations(locked)

    def _rehearse_one(self, work: PreparedMigration) -> MigrationResult:
        if reason := _explain_no_transaction(work):
            ran = MigrationResult(
                MigrationReport(work.version, work.name, "not_rehearsed", reason, file=str(work.file))
            )
        else:
            ran = self.runner.run(work)
        if ran.report.outcome == "not_rehearsed":
            self.not_rehearsed_sql.append(_read_text(work, ran))
        return ran

    def _explain_as_not_rehearsed(self, attempt: TransactionalAttempt, error: BaseException) -> str | None:
        return explain_as_not_rehearsed(attempt, error, self.not_rehearsed_sql)


def _has_foreign(conn: Connection[Any], oids: Collection[int], schema: str) -> bool:
    """Return True if any of these relations is a user's: not the ledger's, a TOAST table or a catalog."""
    chosen = ", ".join(map(str, sorted(oids)))
    return bool(chosen) and bool(
        fetch_rows(
            conn,
            f"SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN ({chosen})"
            f" AND nspname NOT IN ('pg_catalog', 'pg_toast', {quote_literal(schema)}) LIMIT 1",
        )
    )


def create_tracer(
    conn: Connection[Any],
    blockers: LockWaitMonitor,
    ledger: Ledger,
    *,
    explain: bool = False,
    production_planner: ProductionPlanner | None = None,
) -> Tracer:
    """Return the tracer of a rehearsal on ``conn``; with ``explain``, it collects plans too."""
    from confiture.rehearsal.trace.auto_explain import AutoExplain
    from confiture.rehearsal.trace.trace import Tracer

    return Tracer(
        conn,
        blockers,
        ledger,
        auto_explain=AutoExplain(conn) if explain else None,
        production_planner=production_planner,
    )


def _explain_no_transaction(work: PreparedMigration) -> str | None:
    for statement in work.script.statements if work.script else ():
        if not statement.in_transaction and statement.kind not in _MAY_COMMIT:
            return f"line {statement.line} cannot run inside a transaction"
    return None


def _read_text(work: PreparedMigration, ran: MigrationResult) -> str:
    """Return the SQL of a migration; of a Python migration its source, which has the SQL that did not run."""
    if work.script:
        return ";\n".join(statement.sql for statement in work.script.statements)
    if work.file:
        return work.file.read_text(encoding="utf-8", errors="replace")
    return ";\n".join(statement.sql for statement in ran.report.statements)
