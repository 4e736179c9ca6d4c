"""Recognize statements that cannot run inside a transaction block, and those that begin or end one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node

_FALSE = frozenset({"false", "off", "0", "no"})
# Matches a DO block in any language: COMMIT, plpy.commit(), spi_rollback(), or a CALL to a procedure or a
# nested DO that may commit.
_MAY_COMMIT = re.compile(r"commit|rollback|abort|call|\bdo\b", re.I)
_SET_TRANSACTION_WORDS = {
    "TRANSACTION": "SET TRANSACTION",
    "TRANSACTION SNAPSHOT": "SET TRANSACTION",
    "SESSION CHARACTERISTICS": "SET SESSION CHARACTERISTICS AS TRANSACTION",
}


@frozen
class NotInTransaction:
    """A statement that must, or may have to, run outside a transaction block.

    Attributes:
        words: The command, ``"CREATE INDEX CONCURRENTLY"``.
        always: True if PostgreSQL always refuses it in a transaction block; False if that depends on the
            objects it is given.
    """

    words: str
    always: bool = True


def find_transaction_words(kind: str, node: Node, sql: str) -> str | None:
    """Return the command if it begins, ends or divides a transaction, ``"ROLLBACK"``; else ``None``."""
    if kind == "variable_set_stmt":
        return _SET_TRANSACTION_WORDS.get(node.variable_set_stmt.name)
    if kind != "transaction_stmt":
        return None
    # The tree does not tell COMMIT from END, nor ROLLBACK from ABORT: report the word as written.
    word_match = re.match(r"[A-Za-z]+", sql)
    first = word_match.group().upper() if word_match else "COMMIT"
    stmt = node.transaction_stmt
    if stmt.gid:
        return f"{first} {'TRANSACTION' if first == 'PREPARE' else 'PREPARED'}"
    if first == "ROLLBACK" and stmt.savepoint_name:
        return "ROLLBACK TO SAVEPOINT"
    return first


def is_plain_pair(first: Node, last: Node) -> bool:
    """Return True if two statements are a BEGIN and a COMMIT without options."""
    from postgast.pg_query_pb2 import TRANS_STMT_BEGIN, TRANS_STMT_COMMIT, TRANS_STMT_START

    begin, commit = first.transaction_stmt, last.transaction_stmt
    return (
        begin.kind in (TRANS_STMT_BEGIN, TRANS_STMT_START)
        and not begin.options
        and commit.kind == TRANS_STMT_COMMIT
        and not commit.chain
    )


def find_transaction_refusal(kind: str, node: Node) -> NotInTransaction | None:
    """Return the refusal of a statement that cannot run in a transaction block, or may not; else ``None``."""
    judge = _CHECKS.get(kind)
    return judge(getattr(node, kind)) if judge else None


def _refuse_always(words: str) -> Callable[[Any], NotInTransaction]:
    return lambda _: NotInTransaction(words)


def _refuse_perhaps(words: str) -> Callable[[Any], NotInTransaction]:
    return lambda _: NotInTransaction(words, always=False)


def _check_index(stmt: Any) -> NotInTransaction | None:
    return NotInTransaction("CREATE INDEX CONCURRENTLY") if stmt.concurrent else None


def _check_drop(stmt: Any) -> NotInTransaction | None:
    return NotInTransaction("DROP INDEX CONCURRENTLY") if stmt.concurrent else None


def _check_reindex(stmt: Any) -> NotInTransaction:
    from postgast.pg_query_pb2 import ReindexObjectType

    object_type = ReindexObjectType.Name(stmt.kind).removeprefix("REINDEX_OBJECT_")
    if is_option_on(stmt.params, "concurrently", default=False):
        return NotInTransaction(f"REINDEX {object_type} CONCURRENTLY")
    # PostgreSQL refuses it for a partitioned table or index; the text does not say whether it is one.
    return NotInTransaction(f"REINDEX {object_type}", always=object_type in ("SCHEMA", "SYSTEM", "DATABASE"))


def _check_alter_table(stmt: Any) -> NotInTransaction | None:
    from postgast.pg_query_pb2 import AT_DetachPartition

    for command in (cmd.alter_table_cmd for cmd in stmt.cmds):
        if command.subtype == AT_DetachPartition and getattr(command, "def").partition_cmd.concurrent:
            return NotInTransaction("ALTER TABLE … DETACH PARTITION CONCURRENTLY")
    return None


def _check_vacuum(stmt: Any) -> NotInTransaction | None:
    return NotInTransaction("VACUUM") if stmt.is_vacuumcmd else None


def _check_cluster(stmt: Any) -> NotInTransaction:
    # Without a table CLUSTER commits after each one. With a partitioned table it does too.
    return NotInTransaction("CLUSTER", always=not stmt.HasField("relation"))


def _check_discard(stmt: Any) -> NotInTransaction | None:
    from postgast.pg_query_pb2 import DISCARD_ALL

    return NotInTransaction("DISCARD ALL") if stmt.target == DISCARD_ALL else None


def _check_alter_database(stmt: Any) -> NotInTransaction | None:
    names = {option.def_elem.defname for option in stmt.options}
    return NotInTransaction("ALTER DATABASE … SET TABLESPACE") if "tablespace" in names else None


def _check_create_subscription(stmt: Any) -> NotInTransaction | None:
    connects = is_option_on(stmt.options, "connect", default=True)
    # Creating a replication slot on the publisher cannot be rolled back; that alone is refused.
    makes_slot = is_option_on(stmt.options, "create_slot", default=connects)
    return NotInTransaction("CREATE SUBSCRIPTION with a replication slot") if makes_slot else None


def _check_alter_subscription(stmt: Any) -> NotInTransaction:
    from postgast.pg_query_pb2 import ALTER_SUBSCRIPTION_REFRESH

    if stmt.kind == ALTER_SUBSCRIPTION_REFRESH:
        return NotInTransaction("ALTER SUBSCRIPTION … REFRESH PUBLICATION")
    return NotInTransaction("ALTER SUBSCRIPTION", always=False)


def _check_do(stmt: Any) -> NotInTransaction | None:
    """Return a refusal if the block may commit, as PL/pgSQL's parser sees it; for other languages, by words.

    Any other block stays in a transaction, so that its changes and its progress record commit together.
    """
    bodies = [
        argument.def_elem.arg.string.sval for argument in stmt.args if argument.def_elem.defname == "as"
    ]
    if not _MAY_COMMIT.search(" ".join(bodies)):
        return None
    # Imported here, because most texts have no such word, and this imports half of the package.
    from confiture.sql.procedural import may_end_transaction

    return None if may_end_transaction(stmt) is False else NotInTransaction("DO", always=False)


def is_option_on(options: Iterable[Any], name: str, *, default: bool) -> bool:
    """Return True if a parenthesized option is on: bare or with a true value. The last occurrence counts."""
    on = default
    for option in (node.def_elem for node in options):
        if option.defname.lower() == name:
            on = _is_true(option.arg) if option.HasField("arg") else True
    return on


def _is_true(value: Any) -> bool:
    kind = value.WhichOneof("node")
    if kind == "string":
        return value.string.sval.lower() not in _FALSE
    if kind == "boolean":
        return bool(value.boolean.boolval)
    return bool(value.integer.ival)


_CHECKS: dict[str, Callable[[Any], NotInTransaction | None]] = {
    "index_stmt": _check_index,
    "drop_stmt": _check_drop,
    "reindex_stmt": _check_reindex,
    "alter_table_stmt": _check_alter_table,
    "vacuum_stmt": _check_vacuum,
    "cluster_stmt": _check_cluster,
    "discard_stmt": _check_discard,
    "alter_database_stmt": _check_alter_database,
    "create_subscription_stmt": _check_create_subscription,
    "alter_subscription_stmt": _check_alter_subscription,
    "drop_subscription_stmt": _refuse_perhaps("DROP SUBSCRIPTION"),
    "alter_system_stmt": _refuse_always("ALTER SYSTEM"),
    "createdb_stmt": _refuse_always("CREATE DATABASE"),
    "dropdb_stmt": _refuse_always("DROP DATABASE"),
    "create_table_space_stmt": _refuse_always("CREATE TABLESPACE"),
    "drop_table_space_stmt": _refuse_always("DROP TABLESPACE"),
    "call_stmt": _refuse_perhaps("CALL"),
    "do_stmt": _check_do,
}
REFUSABLE_KINDS = tuple(_CHECKS)
"""The parser's names of the statements that PostgreSQL may refuse in a transaction block."""
