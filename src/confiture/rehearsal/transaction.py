"""Rehearse: run a plan for real inside one transaction, and roll it back."""

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

# A new enum value, pending trigger events: these may fail only because an earlier migration of the
# plan is not committed.
_NOT_COMMITTED = {
    "55P04": "it uses something that an earlier migration of this plan has not committed yet",
    "55006": "an earlier migration of this plan has left trigger events pending until its commit",
}
# What allows no transaction block, a procedure that commits: no fault of a no-transaction migration.
_NO_TRANSACTION = {
    "25001": "it cannot run inside a transaction",
    "2D000": "it ends transactions itself",
}
_UNDEFINED = ("42P01", "42703", "42704", "42883", "3F000")
_MAY_COMMIT = ("do_stmt", "call_stmt")


@define
class Rehearsal:
    """One plan, rehearsed in one transaction.

    Attributes:
        runner: Runs each migration, in a savepoint.
        not_rehearsed_sql: The text of those that could not be rehearsed: what they create is missing later.
        uncommitted_sql: The text of those that were, and that a run would have committed.
    """

    runner: Runner
    not_rehearsed_sql: list[str] = field(factory=list)
    uncommitted_sql: list[str] = field(factory=list)
    _work: PreparedMigration | None = None

    def run(
        self, works: Iterable[PreparedMigration], on_result: Callable[[MigrationResult], None]
    ) -> tuple[MigrationResult, ...]:
        """Rehearse until the first failure; leave nothing behind."""
        each: list[MigrationResult] = []
        self.runner.explain_as_not_rehearsed = self._explain_as_not_rehearsed
        with (
            self.runner.run_context.observer.listen(),
            self.runner.run_context.session.transaction(keep=False),
        ):
            for work in works:
                each.append(self._rehearse_one(work))
                on_result(each[-1])
                if each[-1].stopped_by:
                    break
        return tuple(each)

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
        """Say why this failure would not happen where every migration is committed, or ``None``."""
        inner = unwrap_hook_error(error)
        if not isinstance(inner, psycopg.Error) or inner is not error:
            return None
        primary = inner.diag.message_primary or ""
        if inner.sqlstate in _NO_TRANSACTION and self._work and not self._work.transactional:
            return f"{_NO_TRANSACTION[inner.sqlstate]}: {primary}"
        if inner.sqlstate in _NOT_COMMITTED and self._depends_on_earlier(inner.sqlstate, primary):
            return f"{_NOT_COMMITTED[inner.sqlstate]}: {primary}"
        name = find_first_name(primary) if inner.sqlstate in _UNDEFINED else None
        if name and any(_creates(text, name) for text in self.not_rehearsed_sql):
            return f"it needs {name!r}, which a migration that could not be rehearsed creates: {primary}"
        return None

    def _depends_on_earlier(self, sqlstate: str, primary: str) -> bool:
        """Whether an earlier migration is to blame; a value that this one adds itself fails in a run too."""
        name = find_first_name(primary)
        if sqlstate != "55P04" or name is None:
            return bool(self.uncommitted_sql)
        return any(adds_enum_value(text, name) for text in self.uncommitted_sql)


def create_tracer(conn: Connection[Any], blockers: LockWaitMonitor, *, explain: bool = False) -> Tracer:
    """Return who looks on while a plan is rehearsed on ``conn``, and asks for plans where told to."""
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
