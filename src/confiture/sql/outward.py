"""Find in SQL text what reaches outside of its transaction: neither a rollback nor a copy undoes it.

NOTIFY, nextval and advisory locks are not in the tables. A NOTIFY is sent at the commit only; a rehearsal
compares sequences before and after; session advisory locks are released when the migration ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

from attrs import frozen

from confiture.sql.parser import ParseError, find_nodes, parse, read_enum_name
from confiture.sql.procedural import FunctionCall, parse_body
from confiture.sql.transaction_block import is_option_on

Scope = Literal["database", "server", "files", "network"]
"""Whom an effect reaches: this database, its whole server, the server's files, or other servers."""


@frozen
class OutwardEffect:
    """Something in a text that reaches outside of its transaction.

    Attributes:
        words: What does it: ``lo_export()``.
        does: What it does.
        scope: Whom it reaches.
    """

    words: str
    does: str
    scope: Scope


_RESETS = "resets statistics"
_SLOT = "creates a replication slot"
_WAL = "writes to the write-ahead log at once"
_FILES = "writes files of the server"
_BACKUP = "begins or ends a backup"
_SIGNAL = "ends another session or its query"
_REMOTE = "runs SQL on another connection, which commits by itself"
_HTTP = "sends a request to another server"

OUTWARD_FUNCTIONS: dict[str, tuple[str, Scope]] = {
    "pg_create_logical_replication_slot": (_SLOT, "database"),
    "pg_logical_emit_message": (_WAL, "database"),
    "pg_stat_reset": (_RESETS, "database"),
    "pg_stat_reset_single_table_counters": (_RESETS, "database"),
    "pg_stat_reset_single_function_counters": (_RESETS, "database"),
    "pg_create_physical_replication_slot": (_SLOT, "server"),
    "pg_copy_physical_replication_slot": (_SLOT, "server"),
    "pg_copy_logical_replication_slot": (_SLOT, "server"),
    "pg_sync_replication_slots": (_SLOT, "server"),
    "pg_drop_replication_slot": ("drops a replication slot", "server"),
    "pg_replication_slot_advance": ("moves a replication slot", "server"),
    "pg_logical_slot_get_changes": ("moves a replication slot", "server"),
    "pg_logical_slot_get_binary_changes": ("moves a replication slot", "server"),
    "pg_replication_origin_advance": ("moves a replication origin", "server"),
    "pg_replication_origin_session_setup": ("takes a replication origin", "server"),
    "pg_switch_wal": (_WAL, "server"),
    "pg_create_restore_point": (_WAL, "server"),
    "pg_log_standby_snapshot": (_WAL, "server"),
    "pg_backup_start": (_BACKUP, "server"),
    "pg_backup_stop": (_BACKUP, "server"),
    "pg_start_backup": (_BACKUP, "server"),
    "pg_stop_backup": (_BACKUP, "server"),
    "pg_promote": ("promotes a standby", "server"),
    "pg_wal_replay_pause": ("pauses a standby", "server"),
    "pg_wal_replay_resume": ("resumes a standby", "server"),
    "pg_reload_conf": ("reloads the server's configuration", "server"),
    "pg_rotate_logfile": ("begins a new log file", "server"),
    "pg_log_backend_memory_contexts": ("writes to the server's log", "server"),
    "pg_terminate_backend": (_SIGNAL, "server"),
    "pg_cancel_backend": (_SIGNAL, "server"),
    "pg_stat_reset_shared": (_RESETS, "server"),
    "pg_stat_reset_slru": (_RESETS, "server"),
    "pg_stat_reset_backend_stats": (_RESETS, "server"),
    "pg_stat_reset_replication_slot": (_RESETS, "server"),
    "pg_stat_reset_subscription_stats": (_RESETS, "server"),
    "pg_stat_statements_reset": (_RESETS, "server"),
    "lo_export": (_FILES, "files"),
    "pg_file_write": (_FILES, "files"),
    "pg_file_sync": (_FILES, "files"),
    "pg_file_rename": (_FILES, "files"),
    "pg_file_unlink": (_FILES, "files"),
    "dblink": (_REMOTE, "network"),
    "dblink_exec": (_REMOTE, "network"),
    "dblink_open": (_REMOTE, "network"),
    "dblink_send_query": (_REMOTE, "network"),
    "dblink_connect": ("opens another connection", "network"),
    "dblink_connect_u": ("opens another connection", "network"),
    "pg_background_launch": (_REMOTE, "network"),
    "query_export_to_s3": (_HTTP, "network"),
    "http": (_HTTP, "network"),
    "http_get": (_HTTP, "network"),
    "http_post": (_HTTP, "network"),
    "http_put": (_HTTP, "network"),
    "http_patch": (_HTTP, "network"),
    "http_delete": (_HTTP, "network"),
}
# A cheap test before a text is parsed.
OUTWARD_WORDS = rf"\m({'|'.join(OUTWARD_FUNCTIONS)}|program|subscription|checkpoint|copy)\M"
"""A regular expression in PostgreSQL's syntax: every text with an outward effect matches it."""
_WORDS = re.compile(OUTWARD_WORDS.replace(r"\m", r"\b").replace(r"\M", r"\b"), re.I)
# Statements that may run functions and are not read by their calls alone: the body is not run.
_DEFINITIONS = ("create_function_stmt", "view_stmt", "rule_stmt", "create_trig_stmt")


def find_outward(sql: str) -> OutwardEffect | None:
    """Return the first outward effect of a text, its DO blocks included; ``None`` if it has none."""
    if not mentions_outward(sql):
        return None
    try:
        found = [(parsed.kind, parsed.node) for parsed in parse(sql)]
    except ParseError:
        return None
    if found and all(kind in _DEFINITIONS for kind, _ in found):
        return None
    body = parse_body(sql)
    found += [(inner.kind, inner.node) for inner in body.statements if inner.node is not None]
    return next(iter((*find_outward_statements(found), *find_outward_calls(body.calls))), None)


def mentions_outward(sql: str) -> bool:
    """Return True if a text may have an outward effect; costs no parsing."""
    return _WORDS.search(sql) is not None


def find_outward_calls(
    calls: Iterable[FunctionCall], shadowed: Collection[str] = ()
) -> Iterator[OutwardEffect]:
    """Yield the effects of calls, but for the ``shadowed`` names, which are the user's own functions."""
    for call in calls:
        if call.name not in OUTWARD_FUNCTIONS or (call.name in shadowed and call.schema != "pg_catalog"):
            continue
        if call.name == "pg_logical_emit_message" and call.first_argument is True:
            continue  # a transactional message is part of the transaction
        yield OutwardEffect(f"{call.name}()", *OUTWARD_FUNCTIONS[call.name])


def find_outward_statements(found: Iterable[tuple[str, Any]]) -> Iterator[OutwardEffect]:
    """Yield the effects of statements, each a kind and the parser's node."""
    for kind, node in found:
        read = _STATEMENTS.get(kind)
        effect = read(getattr(node, kind)) if read else None
        if effect:
            yield effect


def find_written_tables(node: Any) -> Iterator[Any]:
    """Yield the relations whose rows a statement changes, as the parser's ``RangeVar``."""
    for stmt in find_nodes(node, "TruncateStmt"):
        yield from (relation.range_var for relation in stmt.relations)
    for kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt"):
        for stmt in find_nodes(node, kind):
            if kind != "CopyStmt" or stmt.is_from:
                yield stmt.relation


def _read_copy(stmt: Any) -> OutwardEffect | None:
    direction = "FROM" if stmt.is_from else "TO"
    if stmt.is_program:
        return OutwardEffect(f"COPY … {direction} PROGRAM", "runs a program on the server", "files")
    if stmt.filename and not stmt.is_from:
        return OutwardEffect("COPY … TO a file", "writes a file of the server", "files")
    return None


def _read_create_subscription(stmt: Any) -> OutwardEffect | None:
    if not is_option_on(stmt.options, "connect", default=True):
        return None
    return OutwardEffect("CREATE SUBSCRIPTION", "connects to another server", "network")


def _read_alter_subscription(stmt: Any) -> OutwardEffect | None:
    kind = read_enum_name(stmt, "kind").removeprefix("ALTER_SUBSCRIPTION_")
    if kind in ("OPTIONS", "ENABLED"):
        return None
    return OutwardEffect("ALTER SUBSCRIPTION", "may connect to another server", "network")


def _read_checkpoint(_: Any) -> OutwardEffect:
    return OutwardEffect("CHECKPOINT", "writes all changed pages to disk", "database")


_STATEMENTS = {
    "copy_stmt": _read_copy,
    "create_subscription_stmt": _read_create_subscription,
    "alter_subscription_stmt": _read_alter_subscription,
    "check_point_stmt": _read_checkpoint,
}
