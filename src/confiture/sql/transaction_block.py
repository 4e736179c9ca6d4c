"""Which statements PostgreSQL refuses inside a transaction block, and which begin or end one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from postgast.pg_query_pb2 import Node

_FALSE = frozenset({"false", "off", "0", "no"})
# In any language: COMMIT, plpy.commit(), spi_rollback(), a CALL of what may do so.
_MAY_COMMIT = re.compile("commit|rollback|call", re.I)
_SET_MULTI = {
    "TRANSACTION": "SET TRANSACTION",
    "TRANSACTION SNAPSHOT": "SET TRANSACTION",
    "SESSION CHARACTERISTICS": "SET SESSION CHARACTERISTICS AS TRANSACTION",
}


@frozen
class Outside:
    """A statement that belongs outside a transaction block.

    Attributes:
        words: What it is, ``"CREATE INDEX CONCURRENTLY"``.
        always: Whether PostgreSQL always refuses it inside; else it depends on what it meets.
    """

    words: str
    always: bool = True


def transaction_words(kind: str, node: Node, sql: str) -> str | None:
    """Return the words of a statement that begins, ends or divides a transaction, else ``None``."""
    if kind == "variable_set_stmt":
        return _SET_MULTI.get(node.variable_set_stmt.name)
    if kind != "transaction_stmt":
        return None
    written = re.match(r"[A-Za-z]+", sql)
    first = written.group().upper() if written else "COMMIT"
    stmt = node.transaction_stmt
    if stmt.gid:
        return f"{first} {'TRANSACTION' if first == 'PREPARE' else 'PREPARED'}"
    if first == "ROLLBACK" and stmt.savepoint_name:
        return "ROLLBACK TO SAVEPOINT"
    return first


def outside_transaction(kind: str, node: Node) -> Outside | None:
    """Return why a statement cannot, or may not, run inside a transaction block; else ``None``."""
    judge = _JUDGES.get(kind)
    return judge(getattr(node, kind)) if judge else None


def _always(words: str) -> Callable[[Any], Outside]:
    return lambda _: Outside(words)


def _perhaps(words: str) -> Callable[[Any], Outside]:
    return lambda _: Outside(words, always=False)


def _index(stmt: Any) -> Outside | None:
    return Outside("CREATE INDEX CONCURRENTLY") if stmt.concurrent else None


def _drop(stmt: Any) -> Outside | None:
    return Outside("DROP INDEX CONCURRENTLY") if stmt.concurrent else None


def _reindex(stmt: Any) -> Outside:
    from postgast.pg_query_pb2 import ReindexObjectType

    object_type = ReindexObjectType.Name(stmt.kind).removeprefix("REINDEX_OBJECT_")
    if switched_on(stmt.params, "concurrently", default=False):
        return Outside(f"REINDEX {object_type} CONCURRENTLY")
    # Of a partitioned table or index it cannot, and the text does not say which it is.
    return Outside(f"REINDEX {object_type}", always=object_type in ("SCHEMA", "SYSTEM", "DATABASE"))


def _alter_table(stmt: Any) -> Outside | None:
    from postgast.pg_query_pb2 import AT_DetachPartition

    for command in (each.alter_table_cmd for each in stmt.cmds):
        if command.subtype == AT_DetachPartition and getattr(command, "def").partition_cmd.concurrent:
            return Outside("ALTER TABLE … DETACH PARTITION CONCURRENTLY")
    return None


def _vacuum(stmt: Any) -> Outside | None:
    return Outside("VACUUM") if stmt.is_vacuumcmd else None


def _cluster(stmt: Any) -> Outside:
    return Outside("CLUSTER", always=not stmt.HasField("relation"))


def _discard(stmt: Any) -> Outside | None:
    from postgast.pg_query_pb2 import DISCARD_ALL

    return Outside("DISCARD ALL") if stmt.target == DISCARD_ALL else None


def _alter_database(stmt: Any) -> Outside | None:
    names = {option.def_elem.defname for option in stmt.options}
    return Outside("ALTER DATABASE … SET TABLESPACE") if "tablespace" in names else None


def _create_subscription(stmt: Any) -> Outside | None:
    connects = switched_on(stmt.options, "connect", default=True)
    makes_slot = switched_on(stmt.options, "create_slot", default=connects)
    return Outside("CREATE SUBSCRIPTION with a replication slot") if makes_slot else None


def _alter_subscription(stmt: Any) -> Outside:
    from postgast.pg_query_pb2 import ALTER_SUBSCRIPTION_REFRESH

    if stmt.kind == ALTER_SUBSCRIPTION_REFRESH:
        return Outside("ALTER SUBSCRIPTION … REFRESH PUBLICATION")
    return Outside("ALTER SUBSCRIPTION", always=False)


def _do(stmt: Any) -> Outside | None:
    """Tell a block that may commit by its words; another one is safer in a transaction, with its record."""
    bodies = [each.def_elem.arg.string.sval for each in stmt.args if each.def_elem.defname == "as"]
    return Outside("DO", always=False) if _MAY_COMMIT.search(" ".join(bodies)) else None


def switched_on(options: Iterable[Any], name: str, *, default: bool) -> bool:
    """Whether an option in parentheses is on: given bare or with a true value; the last one counts."""
    on = default
    for option in (each.def_elem for each in options):
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


_JUDGES: dict[str, Callable[[Any], Outside | None]] = {
    "index_stmt": _index,
    "drop_stmt": _drop,
    "reindex_stmt": _reindex,
    "alter_table_stmt": _alter_table,
    "vacuum_stmt": _vacuum,
    "cluster_stmt": _cluster,
    "discard_stmt": _discard,
    "alter_database_stmt": _alter_database,
    "create_subscription_stmt": _create_subscription,
    "alter_subscription_stmt": _alter_subscription,
    "drop_subscription_stmt": _perhaps("DROP SUBSCRIPTION"),
    "alter_system_stmt": _always("ALTER SYSTEM"),
    "createdb_stmt": _always("CREATE DATABASE"),
    "dropdb_stmt": _always("DROP DATABASE"),
    "create_table_space_stmt": _always("CREATE TABLESPACE"),
    "drop_table_space_stmt": _always("DROP TABLESPACE"),
    "call_stmt": _perhaps("CALL"),
    "do_stmt": _do,
}
