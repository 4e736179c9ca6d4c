"""Turn what went wrong into what the report says, and into an exit code."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.errors import InsufficientPrivilege, LockNotAvailable, ReadOnlySqlTransaction

from confiture.engine.statements import Statements
from confiture.exceptions import ConfitureError, Interrupted, MigrationFault
from confiture.hooks.api import HookError
from confiture.models.report import Fault


def root(error: BaseException) -> BaseException:
    """Return what a hook raised for the ``HookError`` that carries it, else the error itself."""
    while isinstance(error, HookError):
        error = error.error
    return error


def lock_not_granted(error: BaseException) -> bool:
    """Whether a ``lock_timeout`` is what stopped it, wherever that happened."""
    return isinstance(root(error), LockNotAvailable)


def waited_in_vain(error: BaseException) -> bool:
    """Whether somebody held what it waited for, may it be tried again or not."""
    return lock_not_granted(error) or isinstance(root(error).__cause__, LockNotAvailable)


def exit_code(error: BaseException) -> int:
    """Return what the command ends with."""
    if isinstance(error, Interrupted | ConfitureError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if lock_not_granted(error):
        return 6
    return 5 if isinstance(error, HookError) else 4


def fault_of(error: BaseException, stage: str, statements: Statements, holder: str | None = None) -> Fault:
    """Return the fault as the report shows it.

    Args:
        error: What was raised.
        stage: The phase, ``up``, ``down``, ``validation`` or ``commit``.
        statements: Knows which statement failed.
        holder: Who held the lock that was not granted, where that was seen.
    """
    inner = root(error)
    place = _place(error, inner, stage, statements)
    return Fault(
        message=_message(error, inner, holder),
        sqlstate=getattr(inner, "sqlstate", None),
        detail=_diag(inner, "message_detail"),
        hint=_hint(inner, statements.conn),
        phase=stage,
        hook=error.hook_name if isinstance(error, HookError) else None,
        **place,
    )


def source_line(error: BaseException, statements: Statements) -> str | None:
    """Return the faulty line of the file, where there is one."""
    if isinstance(error, MigrationFault):
        return error.source_line
    if statements.failed is None or statements.file is None or isinstance(error, HookError):
        return None
    from confiture.sql.script import statement_position

    line, _ = statement_position(statements.failed, _server_position(error) or 1)
    offset = line - statements.failed.line
    lines = statements.failed.sql.split("\n")
    padding = " " * (statements.failed.column - 1) if offset == 0 else ""
    return padding + lines[offset] if offset < len(lines) else None


def _message(error: BaseException, inner: BaseException, holder: str | None) -> str:
    text = _diag(inner, "message_primary") or (
        inner.message if isinstance(inner, ConfitureError) else str(inner)
    )
    text = text.strip() or type(inner).__name__
    if isinstance(inner, KeyboardInterrupt):
        return "interrupted"
    if holder:
        text += f"; the lock is held by {holder}"
    if not isinstance(inner, psycopg.Error | ConfitureError):
        named = type(inner).__module__ == "builtins" or type(inner).__name__ not in text
        text = f"{type(inner).__name__}: {text}" if named and type(inner).__name__ != "Misuse" else text
    return f"{error.who}: {text}" if isinstance(error, HookError) else text


def _place(error: BaseException, inner: BaseException, stage: str, statements: Statements) -> dict[str, Any]:
    file = str(statements.file) if statements.file else None
    if isinstance(inner, MigrationFault):
        return {"file": str(inner.file) if inner.file else file, "line": inner.line, "column": inner.column}
    if isinstance(error, HookError) or stage not in ("up", "down"):
        return {"file": file}
    if statements.failed is None:
        return {"file": file, "line": statements.failed_line or _raised_at(error, file)}
    from confiture.sql.script import statement_position

    line, column = statement_position(statements.failed, _server_position(inner) or 1)
    return {"file": file, "line": line, "column": column}


def _server_position(error: BaseException) -> int | None:
    text = _diag(error, "statement_position")
    return int(text) if text else None


def _raised_at(error: BaseException, file: str | None) -> int | None:
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _diag(error: BaseException, name: str) -> str | None:
    return getattr(error.diag, name) if isinstance(error, psycopg.Error) else None


def _hint(error: BaseException, conn: psycopg.Connection[Any]) -> str | None:
    if isinstance(error, ConfitureError):
        return error.hint
    if hint := _diag(error, "message_hint"):
        return hint
    if isinstance(error, InsufficientPrivilege):
        who = "" if conn.closed else f" {conn.info.user!r}"
        return f"role{who} lacks this right: have its owner grant it, or connect as a role that has it"
    if isinstance(error, ReadOnlySqlTransaction):
        return "is this a replica, or is default_transaction_read_only on? point --url at the primary"
    if isinstance(error, LockNotAvailable):
        return "run again when the other session has ended, or give it longer: -- confiture: lock_timeout=…"
    return None


def first_name(message: str) -> str | None:
    """Return the first quoted name in a server's message, without its schema."""
    found = re.search(r'"([^"]+)"', message) or re.search(
        r"(?:function|procedure|type|aggregate) ([\w.]+)", message
    )
    return found.group(1).rsplit(".", 1)[-1] if found else None
