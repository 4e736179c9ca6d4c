"""The protocols by which the engine lets others watch a migration, and an observer that does nothing.

The engine asks an observer at fixed points and never knows which one it has. The observers of a run are in
``run_locks``. A rehearsal takes a snapshot after every statement and hook; its observers live in
``rehearsal``, so that the engine does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from psycopg import Cursor

from confiture.hooks.hook_observer import HookObserver, NoHookObserver, Results
from confiture.models.report import MigrationReport
from confiture.postgres.locks import (
    HELD_SQL,
)

HeldRows = Sequence[tuple[Any, ...]]
"""Rows of relation oid and lock mode, as ``pg_locks`` gives them."""


class Observer(HookObserver, Protocol):
    """Observes one migration in its transaction."""

    def listen(self) -> AbstractContextManager[None]:
        """Receive the server's notices for as long as a plan runs."""

    def ignore_relations(self, oids: Iterable[int]) -> None:
        """Leave out these relations, which the rehearsal itself has created."""

    def reset(self) -> None:
        """Forget the previous attempt."""

    def render_opening_sql(self, *, shared: bool) -> str:
        """Return a query for the first message; ``shared`` is true if the transaction held locks before."""

    def begin(self, answers: Sequence[HeldRows], *, shared: bool, hooks: bool, sql_only: bool) -> None:
        """Note the state before the migration.

        Args:
            answers: The answers to ``render_opening_sql``.
            shared: True if the transaction held locks before.
            hooks: True if the migration will run any.
            sql_only: True if it is a file of SQL, and sends nothing but its statements.
        """

    def before_statement(self, sql: str) -> None:
        """Prepare for a statement that is about to run."""

    def explain_sql(self, sql: str) -> str | None:
        """Return the EXPLAIN to execute in place of a statement, ``None`` to run the statement itself."""

    def read_plan(self, cursor: Cursor[Any]) -> tuple[Any, int | None]:
        """Return the plan from such an EXPLAIN's result, and the number of rows that it changed."""

    @property
    def follow_up_sql(self) -> str:
        """Queries to send in the message of the statement that is about to run, behind it; may be empty."""

    def take_follow_up(self, answers: Results) -> float:
        """Note the answers to these queries, and return how long they took, in milliseconds."""

    def after_statement(self, sql: str, duration_ms: float) -> None:
        """Note what a statement did, which took ``duration_ms``."""

    @property
    def left_nothing(self) -> bool:
        """True if the migration can have left neither a trigger event for its end nor a session's state."""

    def render_closing_sql(self, lock_condition: str, *, checks: bool) -> str:
        """Return queries for the last message: what it holds, and if the migration lock is held.

        Args:
            lock_condition: A condition on ``pg_locks`` that is true for the migration lock.
            checks: True if deferred constraints are checked before them, whose triggers may take locks.
        """

    def close(self, answers: Results) -> bool:
        """Note the answers; return False, and note nothing, if the migration lock is lost."""

    def end(self, held: HeldRows) -> None:
        """Note the locks that the transaction holds just before its end."""

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with what the observer saw of the migration."""


class StepObserver(Protocol):
    """Observes a no-transaction migration, whose statements commit one by one."""

    def begin(self) -> None:
        """Note the state before the migration."""

    def skip_hooks(self, phase: str) -> None:
        """Note that the hooks of a phase run unobserved."""

    def watch_transaction(self, number: int) -> AbstractContextManager[Observer]:
        """Observe the statement with this number, which runs in a transaction."""

    def take_locks(self, held: HeldRows) -> None:
        """Note the locks that the statement in that transaction holds just before its commit."""

    def watch_statement(self, number: int, sql: str, line: int | None) -> AbstractContextManager[None]:
        """Observe a statement that PostgreSQL does not allow in a transaction, while it runs."""

    def note_unseen(self, line: int | None) -> None:
        """Note that the statement on this line could not be observed, if so; ``None``: all of Python."""

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with what the observer saw of its statements."""


class NoObserver(NoHookObserver):
    """Observes nothing."""

    left_nothing = False
    follow_up_sql = ""

    def listen(self) -> AbstractContextManager[None]:
        """Listen to nothing."""
        return nullcontext()

    def ignore_relations(self, oids: Iterable[int]) -> None:
        """Leave out nothing."""

    def reset(self) -> None:
        """Forget nothing."""

    def render_opening_sql(self, *, shared: bool) -> str:  # noqa: ARG002 - the protocol's
        """Ask nothing."""
        return ""

    def begin(self, answers: Sequence[HeldRows], *, shared: bool, hooks: bool, sql_only: bool) -> None:
        """Note nothing."""

    def before_statement(self, sql: str) -> None:
        """Prepare nothing."""

    def explain_sql(self, sql: str) -> str | None:  # noqa: ARG002 - the protocol's
        """Return ``None``: every statement runs unchanged."""
        return None

    def read_plan(self, cursor: Cursor[Any]) -> tuple[Any, int | None]:  # noqa: ARG002 - the protocol's
        """Return no plan."""
        return None, None

    def take_follow_up(self, answers: Results) -> float:  # noqa: ARG002 - the protocol's
        """Note nothing."""
        return 0.0

    def after_statement(self, sql: str, duration_ms: float) -> None:
        """Note nothing."""

    def render_closing_sql(self, lock_condition: str, *, checks: bool) -> str:  # noqa: ARG002 - the protocol's
        """Return one query for our locks and for the migration lock, whose row has a NULL oid."""
        return f"{HELD_SQL} OR {lock_condition}"

    def close(self, answers: Results) -> bool:
        """Note our locks, if the migration lock is among them."""
        (held,) = answers
        locks = [row for row in held if row[0] is not None]
        if len(locks) == len(held):
            return False
        self.end(locks)
        return True

    def end(self, held: HeldRows) -> None:
        """Note nothing."""

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report unchanged."""
        return report
