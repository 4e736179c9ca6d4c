"""Decide if an error of a rehearsal in one transaction would not happen in a run.

A run commits each migration, and each statement of a no-transaction migration. A rehearsal commits nothing.
Some errors are an effect of that. The same error may also be the migration's own fault, with which a run
fails too, so each excuse asks the server or the text for the real cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.engine.failures import find_first_name, unwrap_hook_error
from confiture.engine.transactional import TransactionalAttempt
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.rehearsal.trace.outward_watch import ReachesOutside
from confiture.sql.created_names import creates_name
from confiture.sql.procedural import parse_body
from confiture.sql.statement_kind import adds_enum_value, classify_statement

# Undefined table, column, object, function and schema.
_UNDEFINED = ("42P01", "42703", "42704", "42883", "3F000")
# NOT NULL and CHECK violated by rows.
_VIOLATED = ("23502", "23514")
# An enum value that does not exist: as input, and in RENAME VALUE.
_UNDEFINED_VALUE = ("22P02", "22023")
_UNSAFE_VALUE = re.compile(r'"(?P<value>.*)" of enum type (?P<type>.*)', re.DOTALL)
# In an error's context, a line of a query that calls a function: no COMMIT is allowed below it.
_IN_A_QUERY = re.compile(
    r'^SQL (?:statement "(?!\s*(?:call|do)\b)|expression|function)| at EXECUTE$', re.I | re.M
)


@frozen
class _Failure:
    """A statement's error, and the facts that decide whether it is excused.

    Attributes:
        error: The server's error.
        sql: The statement.
        commits_alone: True if each statement of the migration commits in a run.
        conn: The connection, rolled back to the state before the migration.
        undone: The texts of earlier migrations that were not rehearsed.
    """

    error: psycopg.Error
    sql: str
    commits_alone: bool
    conn: Connection[Any]
    undone: tuple[str, ...]

    @property
    def message(self) -> str:
        return self.error.diag.message_primary or ""


def explain_as_not_rehearsed(
    attempt: TransactionalAttempt, error: BaseException, undone: Iterable[str]
) -> str | None:
    """Return why this failure would not happen in a run, or ``None``.

    Args:
        attempt: The migration that failed; it has been rolled back.
        error: What stopped it.
        undone: The texts of earlier migrations that were not rehearsed.
    """
    line, sql = attempt.statements.running or (None, "")
    if isinstance(error, ReachesOutside):
        place = "" if line is None else f"line {line}: "
        return f"{place}{error}, and a rollback does not undo that; a copy may isolate it: --in clone"
    # An error that a hook raised is not explained.
    if not isinstance(error, psycopg.Error) or unwrap_hook_error(error) is not error:
        return None
    conn = attempt.run_context.session.conn
    if conn.info.transaction_status != TransactionStatus.INTRANS:
        return None
    failure = _Failure(error, sql, not attempt.migration.transactional, conn, tuple(undone))
    explain = _EXPLAIN.get(error.sqlstate or "")
    reason = explain(failure) if explain else None
    return f"{reason}: {failure.message}" if reason else None


def _explain_active_transaction(failure: _Failure) -> str | None:
    # With a context it ran inside a function or a DO block, where a run cannot execute it either.
    if failure.commits_alone and not failure.error.diag.context:
        return "it cannot run inside a transaction"
    return None


def _explain_termination(failure: _Failure) -> str | None:
    if not failure.commits_alone or classify_statement(failure.sql).verb not in ("DO", "CALL"):
        return None
    if _IN_A_QUERY.search(failure.error.diag.context or "") or parse_body(failure.sql).commits_in_exception:
        return None
    return "it ends transactions itself"


def _explain_enum_value(failure: _Failure) -> str | None:
    """Explain a new enum value that is used before it is committed.

    The migration has been rolled back: a value that is still there is an earlier migration's.
    """
    found = _UNSAFE_VALUE.search(failure.message)
    if found is None:
        return None
    if _has_enum_value(failure.conn, found["value"], found["type"]):
        return "it uses an enum value that an earlier migration of this plan has not committed yet"
    if failure.commits_alone and not adds_enum_value(failure.sql, found["value"]):
        return "it uses an enum value that an earlier statement of it has not committed yet"
    return None


def _has_enum_value(conn: Connection[Any], value: str, enum_type: str) -> bool:
    # The message qualifies the type unless it is on the search path, as the migration had set it.
    query = (
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_enum e JOIN pg_catalog.pg_type t ON t.oid = e.enumtypid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
        f" WHERE e.enumlabel = {quote_literal(value)} AND {quote_literal(enum_type)} IN"
        " (quote_ident(t.typname), quote_ident(n.nspname) || '.' || quote_ident(t.typname)))"
    )
    ((exists,),) = fetch_rows(conn, query)
    return bool(exists)


def _explain_undefined(failure: _Failure) -> str | None:
    name = find_first_name(failure.message)
    if name and any(creates_name(text, name) for text in failure.undone):
        return _describe_missing(name)
    return None


def _explain_undefined_value(failure: _Failure) -> str | None:
    name = find_first_name(failure.message)
    if name and any(adds_enum_value(text, name) for text in failure.undone):
        return _describe_missing(name)
    return None


def _explain_violated(failure: _Failure) -> str | None:
    """Explain rows that a batched UPDATE would have filled, had its COMMIT been possible here."""
    table = failure.error.diag.table_name
    updates = re.compile(rf'\bUPDATE\s+(?:ONLY\s+)?(?:[\w$"]+\.)?"?{re.escape(table or "")}"?(?![\w$])', re.I)
    if table and any(updates.search(text) for text in failure.undone):
        return f"it needs rows of {table!r} as the migration leaves them that could not be rehearsed"
    return None


def _describe_missing(name: str) -> str:
    return f"it needs {name!r}, and the migration that creates it could not be rehearsed"


_EXPLAIN = {
    "25001": _explain_active_transaction,
    "2D000": _explain_termination,
    "55P04": _explain_enum_value,
    **dict.fromkeys(_UNDEFINED, _explain_undefined),
    **dict.fromkeys(_VIOLATED, _explain_violated),
    **dict.fromkeys(_UNDEFINED_VALUE, _explain_undefined_value),
}
