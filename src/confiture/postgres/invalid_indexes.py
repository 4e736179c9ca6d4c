"""The invalid indexes that CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY leave when they fail.

They are looked for on the table that the statement names, never by an index's name alone: another
schema may have an index of that name, and it is nobody's business here.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import literal, rows, send
from confiture.sql.parser import Parsed, Unreadable, parse
from confiture.sql.quote import quote_ident
from confiture.sql.transaction_block import outside_transaction


@frozen
class Build:
    """What a statement builds.

    Attributes:
        relation: The table, or the index that is built anew, quoted, as the statement names it.
        index: The index's name; ``None`` where the server chooses it.
        again: Whether it rebuilds what is there already.
    """

    relation: str
    index: str | None = None
    again: bool = False

    def table(self, conn: Connection[Any]) -> tuple[str, ...]:
        """Return the table it builds on, qualified; nothing where that is gone."""
        relation = f"to_regclass({literal(self.relation)})"
        found = rows(
            conn,
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = coalesce("
            f"(SELECT indrelid FROM pg_index WHERE indexrelid = {relation}), {relation})",
        )
        return tuple(name for (name,) in found)

    def invalid(self, conn: Connection[Any]) -> tuple[str, ...]:
        """Return the invalid indexes that it may have left, qualified."""
        return self._found(conn, "NOT i.indisvalid")

    def is_there(self, conn: Connection[Any]) -> bool:
        """Whether its index is there by name, and valid."""
        return self.index is not None and bool(self._found(conn, "i.indisvalid"))

    def _found(self, conn: Connection[Any], state: str) -> tuple[str, ...]:
        relation = f"to_regclass({literal(self.relation)})"
        named = "" if self.index is None else f" AND c.relname = {literal(self.index)}"
        if self.again:
            # The one to be rebuilt may be invalid itself; what a failed rebuild leaves has such a name.
            named = " AND c.relname ~ '_cc(new|old)[0-9]*$'"
        found = rows(
            conn,
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            f" WHERE {state} AND c.relkind = 'i'{named} AND i.indrelid IN ({relation},"
            f" (SELECT indrelid FROM pg_index WHERE indexrelid = {relation})) ORDER BY 1",
        )
        return tuple(name for (name,) in found)


def build_of(sql: str) -> Build | None:
    """Return what a CREATE INDEX or REINDEX, CONCURRENTLY, builds; ``None`` for any other statement."""
    parsed = _concurrent(sql)
    if parsed and parsed.kind == "index_stmt":
        statement = parsed.node.index_stmt
        return Build(_quoted(statement.relation), statement.idxname or None)
    if parsed and parsed.kind == "reindex_stmt" and parsed.node.reindex_stmt.relation.relname:
        return Build(_quoted(parsed.node.reindex_stmt.relation), again=True)
    return None


def is_concurrently(sql: str) -> bool:
    """Whether it is one of the statements that wait for old transactions and block nobody."""
    return _concurrent(sql) is not None


def _concurrent(sql: str) -> Parsed | None:
    if "concurrently" not in sql.lower():
        return None
    try:
        found = parse(sql)
    except Unreadable:
        return None  # the server will say what is wrong with it
    outside = outside_transaction(found[0].kind, found[0].node) if len(found) == 1 else None
    return found[0] if outside and outside.words.endswith("CONCURRENTLY") else None


def drop(conn: Connection[Any], names: tuple[str, ...]) -> None:
    """Drop these indexes without blocking anybody.

    Raises:
        psycopg.errors.LockNotAvailable: Old transactions did not end in time.
    """
    for name in names:
        send(conn, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _quoted(relation: Any) -> str:
    return ".".join(quote_ident(part) for part in (relation.schemaname, relation.relname) if part)
