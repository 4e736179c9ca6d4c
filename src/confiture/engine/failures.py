"""Turn an exception into the report's fault, and into an exit code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import (
    ActiveSqlTransaction,
    InsufficientPrivilege,
    InvalidTransactionTermination,
    LockNotAvailable,
    ReadOnlySqlTransaction,
)

from confiture.exceptions import Interrupted, MigrationFault, UserFault, describe_error, read_message
from confiture.hooks.api import HookError
from confiture.ledger.table import read_role
from confiture.models.report import Fault

if TYPE_CHECKING:
    from confiture.engine.statements import StatementRunner


def unwrap_hook_error(error: BaseException) -> BaseException:
    """Return the exception inside a ``HookError``, else the error itself."""
    while isinstance(error, HookError):
        error = error.error
    return error


def is_lock_timeout(error: BaseException) -> bool:
    """Return True if a ``lock_timeout`` stopped the migration, in its SQL or in a hook."""
    return isinstance(unwrap_hook_error(error), LockNotAvailable)


def was_blocked(error: BaseException) -> bool:
    """Return True if another session held the lock, whether or not a retry is allowed."""
    return is_lock_timeout(error) or isinstance(unwrap_hook_error(error).__cause__, LockNotAvailable)


def choose_exit_code(error: BaseException) -> int:
    """Return the exit code of a command that this error stopped."""
    if isinstance(error, Interrupted | UserFault):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if is_lock_timeout(error):
        return 6
    return 5 if isinstance(error, HookError) else 4


def build_fault(
    error: BaseException, stage: str, statements: StatementRunner, holder: str | None = None
) -> Fault:
    """Return the fault as the report shows it.

    Args:
        error: What was raised.
        stage: The phase, ``up``, ``down``, ``validation`` or ``commit``.
        statements: Keeps the statement that failed.
        holder: The session that held the lock, if the monitor saw one.
    """
    inner = unwrap_hook_error(error)
    place = _locate(error, inner, stage, statements)
    return Fault(
        message=_build_message(error, inner, holder),
        sqlstate=inner.sqlstate if isinstance(inner, psycopg.Error) else None,
        detail=_read_diag(inner, "message_detail"),
        hint=_choose_hint(inner, statements.conn) or _suggest_no_transaction(error, stage, statements),
        phase=stage,
        hook=error.hook_name if isinstance(error, HookError) else None,
        **place,
    )


def build_outer_fault(error: BaseException) -> Fault:
    """Return the fault of an error outside any migration."""
    if isinstance(error, KeyboardInterrupt):
        return Fault("interrupted")
    if isinstance(error, UserFault):
        place = error if isinstance(error, MigrationFault) else None
        return Fault(
            str(error.message),
            hint=error.hint,
            file=str(place.file) if place and place.file else None,
            line=place.line if place else None,
            column=place.column if place else None,
        )
    return Fault(
        _read_diag(error, "message_primary")
        or (" ".join(read_message(error).split()) if isinstance(error, psycopg.Error) else "")
        or describe_error(error),
        sqlstate=error.sqlstate if isinstance(error, psycopg.Error) else None,
        detail=_read_diag(error, "message_detail"),
        hint=_read_diag(error, "message_hint"),
    )


def find_source_line(error: BaseException, statements: StatementRunner) -> str | None:
    """Return the line of the file where the error is, ``None`` if it is not in the file."""
    if isinstance(error, MigrationFault):
        return error.source_line
    if statements.failed is None or statements.file is None or isinstance(error, HookError):
        return None
    from confiture.sql.script import locate_server_position

    line, _ = locate_server_position(statements.failed, _read_server_position(error) or 1)
    offset = line - statements.failed.line
    lines = statements.failed.sql.split("\n")
    # The statement's text begins at its column; pad its first line so that the caret fits.
    padding = " " * (statements.failed.column - 1) if offset == 0 else ""
    return padding + lines[offset] if offset < len(lines) else None


def _build_message(error: BaseException, inner: BaseException, holder: str | None) -> str:
    text = _read_diag(inner, "message_primary") or (
        str(inner.message) if isinstance(inner, UserFault) else read_message(inner)
    )
    text = text.strip() or type(inner).__name__
    if isinstance(inner, KeyboardInterrupt):
        return "interrupted"
    if _is_copy_without_client(inner):
        text = "COPY … TO STDOUT or FROM STDIN was sent with execute(), which passes no rows on"
    if holder:
        text += f"; the lock is held by {holder}"
    if not isinstance(inner, psycopg.Error | UserFault):
        named = text != type(inner).__name__ and (
            type(inner).__module__ == "builtins" or type(inner).__name__ not in text
        )
        text = f"{type(inner).__name__}: {text}" if named and type(inner).__name__ != "HookMisuse" else text
    return f"{error.description}: {text}" if isinstance(error, HookError) else text


def _locate(
    error: BaseException, inner: BaseException, stage: str, statements: StatementRunner
) -> dict[str, Any]:
    file = str(statements.file) if statements.file else None
    if isinstance(inner, MigrationFault):
        return {"file": str(inner.file) if inner.file else file, "line": inner.line, "column": inner.column}
    if isinstance(error, HookError) or stage not in ("up", "down"):
        return {"file": file}
    if statements.failed is None:
        return {"file": file, "line": statements.failed_line or _find_raising_line(error, file)}
    from confiture.sql.script import locate_server_position

    line, column = locate_server_position(statements.failed, _read_server_position(inner) or 1)
    return {"file": file, "line": line, "column": column}


def _read_server_position(error: BaseException) -> int | None:
    text = _read_diag(error, "statement_position")
    return int(text) if text else None


def _find_raising_line(error: BaseException, file: str | None) -> int | None:
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _read_diag(error: BaseException, name: str) -> str | None:
    return getattr(error.diag, name) if isinstance(error, psycopg.Error) else None


def _choose_hint(error: BaseException, conn: psycopg.Connection[Any]) -> str | None:
    if isinstance(error, UserFault):
        # A plugin may raise one with any object for its hint.
        return None if error.hint is None else str(error.hint)
    if hint := _read_diag(error, "message_hint"):
        return hint
    if _is_copy_without_client(error):
        return (
            "use copy(), and read or write the rows in its block: "
            'with conn.cursor() as cursor, cursor.copy("COPY …") as copy'
        )
    if isinstance(error, InsufficientPrivilege):
        role = "" if conn.closed else f" {read_role(conn)!r}"
        return f"role{role} lacks this right: have its owner grant it, or connect as a role that has it"
    if isinstance(error, ReadOnlySqlTransaction):
        return "is this a replica, or is default_transaction_read_only on? point --url at the primary"
    if isinstance(error, LockNotAvailable):
        return "run again when the other session has ended, or wait longer: -- confiture: lock_timeout=…"
    return None


def _is_copy_without_client(error: BaseException) -> bool:
    """Return True if psycopg has refused to run a COPY whose rows somebody must send or take."""
    return (
        isinstance(error, psycopg.ProgrammingError)
        and error.sqlstate is None
        and read_message(error).startswith("COPY cannot be used")
    )


def _suggest_no_transaction(error: BaseException, stage: str, statements: StatementRunner) -> str | None:
    """Return the next step for a statement that PostgreSQL refuses because it is in a transaction."""
    if isinstance(error, HookError) or stage not in ("up", "down"):
        return None
    if isinstance(error, InvalidTransactionTermination):
        # Any other statement may not commit outside a transaction either.
        fits = _find_failed_sql(statements).lstrip("( \n\t").upper().startswith(("DO", "CALL"))
    else:
        fits = isinstance(error, ActiveSqlTransaction) and "transaction block" in str(error)
    if not fits or (statements.failed is not None and not statements.failed.in_transaction):
        return None
    if statements.failed is None:
        return "run it outside a transaction: write transactional = False in the migration's class"
    return (
        "run it outside a transaction, with this line above the first statement: -- confiture: no-transaction"
    )


def _find_failed_sql(statements: StatementRunner) -> str:
    if statements.failed is not None:
        return statements.failed.sql
    return statements.running[1] if statements.running else ""


def find_first_name(message: str) -> str | None:
    """Return the first quoted name in a server's message, without its schema."""
    found = re.search(r'"([^"]+)"', message) or re.search(
        r"(?:function|procedure|type|aggregate|column) ([\w.]+)", message
    )
    return found.group(1).rsplit(".", 1)[-1] if found else None
