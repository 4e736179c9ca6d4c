"""Rehearse a plan in one transaction, and roll it back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import define, field
from psycopg import Connection

from confiture.engine.failures import find_first_name, unwrap_hook_error
from confiture.engine.runner import MigrationResult, Runner
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import MigrationReport
from confiture.sql.statement_kind import adds_enum_value

if TYPE_CHECKING:
    from confiture.engine.blockers import LockWaitMonitor
    from confiture.rehearsal.trace.trace import Tracer

# Errors that a run may not have: all migrations of a rehearsal share one transaction, so the earlier ones are
# not committed. 55P04: a new enum value must be committed before it is used. 55006: a table with pending
# trigger events cannot be altered.
_NOT_COMMITTED = {
    "55P04": "it uses an enum value that an earlier migration of this plan has not committed yet",
    "55006": "an earlier migration of this plan has left trigger events pending until its commit",
}
# A no-transaction migration may do these in a run: VACUUM, or a procedure that commits.
_NO_TRANSACTION = {
    "25001": "it cannot run inside a transaction",
    "2D000": "it ends transactions itself",
}
# Undefined table, column, object, function and schema.
_UNDEFINED = ("42P01", "42703", "42704", "42883", "3F000")
_MAY_COMMIT = ("do_stmt", "call_stmt")


@define
class Rehearsal:
    """One plan, rehearsed in one transaction.

    Attributes:
        runner: Runs each migration in a savepoint.
        not_rehearsed_sql: The SQL of migrations that were not rehearsed; later ones lack what they create.
        uncommitted_sql: The SQL of migrations that were rehearsed; a run would have committed it.
    """

    runner: Runner
    not_rehearsed_sql: list[str] = field(factory=list)
    uncommitted_sql: list[str] = field(factory=list)
    _work: PreparedMigration | None = None

    def run(
        self, works: Iterable[PreparedMigration], on_result: Callable[[MigrationResult], None]
    ) -> tuple[MigrationResult, ...]:
        """Rehearse the migrations until the first failure, and roll everything back."""
        results: list[MigrationResult] = []
        self.runner.explain_as_not_rehearsed = self._explain_as_not_rehearsed
        with (
            self.runner.run_context.observer.listen(),
            self.runner.run_context.session.transaction(keep=False),
        ):
            for work in works:
                results.append(self._rehearse_one(work))
                on_result(results[-1])
                if results[-1].stopped_by:
                    break
        return tuple(results)

    def _rehearse_one(self, work: PreparedMigration) -> MigrationResult:
        if reason := _explain_no_transaction(work):
            ran = MigrationResult(
                MigrationReport(work.version, work.name, "not_rehearsed", reason, file=str(work.file))
            )
        else:
            self._work = work
            ran = self.runner.run(work)
        left_out = ran.report.outcome == "not_rehearsed"
        (self.not_rehearsed_sql if left_out else self.uncommitted_sql).append(_join_sql(work, ran))
        return ran

    def _explain_as_not_rehearsed(self, error: BaseException) -> str | None:
        """Return why this failure would not happen in a run, which commits each migration, or ``None``."""
        inner = unwrap_hook_error(error)
        # An error that a hook raised is not explained.
        if not isinstance(inner, psycopg.Error) or inner is not error:
            return None
        primary = inner.diag.message_primary or ""
        if inner.sqlstate in _NO_TRANSACTION and self._work and not self._work.transactional:
            return f"{_NO_TRANSACTION[inner.sqlstate]}: {primary}"
        if inner.sqlstate in _NOT_COMMITTED and self._depends_on_earlier(inner.sqlstate, primary):
            return f"{_NOT_COMMITTED[inner.sqlstate]}: {primary}"
        name = find_first_name(primary) if inner.sqlstate in _UNDEFINED else None
        if name and any(_creates(text, name) for text in self.not_rehearsed_sql):
            return f"it needs {name!r}, and the migration that creates it could not be rehearsed: {primary}"
        return None

    def _depends_on_earlier(self, sqlstate: str, primary: str) -> bool:
        """Return True if an earlier migration may be the cause.

        An enum value that this migration adds itself fails in a run too.
        """
        name = find_first_name(primary)
        if sqlstate != "55P04" or name is None:
            return bool(self.uncommitted_sql)
        return any(adds_enum_value(text, name) for text in self.uncommitted_sql)


def create_tracer(conn: Connection[Any], blockers: LockWaitMonitor, *, explain: bool = False) -> Tracer:
    """Return the tracer of a rehearsal on ``conn``; with ``explain``, it collects plans too."""
    from confiture.rehearsal.trace.auto_explain import AutoExplain
    from confiture.rehearsal.trace.trace import Tracer

    return Tracer(conn, blockers, auto_explain=AutoExplain(conn) if explain else None)


def _explain_no_transaction(work: PreparedMigration) -> str | None:
    for statement in work.script.statements if work.script else ():
        if not statement.in_transaction and statement.kind not in _MAY_COMMIT:
            return f"line {statement.line} cannot run inside a transaction"
    return None


def _join_sql(work: PreparedMigration, ran: MigrationResult) -> str:
    if work.script:
        return ";\n".join(statement.sql for statement in work.script.statements)
    return ";\n".join(statement.sql for statement in ran.report.statements)


def _creates(text: str, name: str) -> bool:
    from confiture.sql.created_names import find_created_names

    names = find_created_names(text)
    return name in names if names is not None else bool(re.search(rf"\b{re.escape(name)}\b", text))
