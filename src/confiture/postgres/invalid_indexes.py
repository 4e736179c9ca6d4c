"""Find the invalid indexes that a failed CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY leaves.

Looks only on the tables that the statement works on: another schema may have an index of the same name.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.sql.parser import ParseError, RawStatement, parse, read_enum_name
from confiture.sql.quote import quote_ident
from confiture.sql.transaction_block import find_transaction_refusal


@frozen
class ConcurrentBuild:
    """A CREATE INDEX or REINDEX with CONCURRENTLY.

    Attributes:
        relation: The table, or the index to rebuild, as the statement names it, quoted; empty for REINDEX of
            a schema or database.
        index: The index's name; ``None`` if the server chooses it.
        rebuilds: True for REINDEX.
        schema: The schema that REINDEX SCHEMA names, else ``None``.
    """

    relation: str
    index: str | None = None
    rebuilds: bool = False
    schema: str | None = None

    def read_table(self, conn: Connection[Any]) -> tuple[str, ...]:
        """Return the qualified name of the indexed table; empty if there is no such relation."""
        if not self.relation:
            return ()
        relation = f"to_regclass({quote_literal(self.relation)})"
        found = fetch_rows(
            conn,
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = coalesce("
            f"(SELECT indrelid FROM pg_index WHERE indexrelid = {relation}), {relation})",
        )
        return tuple(name for (name,) in found)

    def find_invalid(self, conn: Connection[Any]) -> tuple[str, ...]:
        """Return the qualified names of the invalid indexes that it may have left."""
        return self._find_indexes(conn, "NOT i.indisvalid")

    def is_built(self, conn: Connection[Any]) -> bool:
        """Return True if an index of its name exists and is valid."""
        return self.index is not None and bool(self._find_indexes(conn, "i.indisvalid"))

    def has_similar(self, conn: Connection[Any]) -> bool:
        """Return True if its table has a valid index, which may be the one that the server has named."""
        return bool(self._find_indexes(conn, "i.indisvalid AND NOT i.indisprimary"))

    def _find_indexes(self, conn: Connection[Any], state: str) -> tuple[str, ...]:
        found = fetch_rows(
            conn,
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            f" WHERE {state} AND c.relkind = 'i' AND {self._render_name_condition()}"
            f" AND {self._render_table_condition()} ORDER BY 1",
        )
        return tuple(name for (name,) in found)

    def _render_name_condition(self) -> str:
        if self.rebuilds:
            # The index to rebuild may be invalid too, and must stay. PostgreSQL names the transient ones
            # NAME_ccnew and, after the swap, NAME_ccold.
            return "c.relname ~ '_cc(new|old)[0-9]*$'"
        if self.index is None:
            # The end of every name that the server chooses: another one on the table is somebody else's.
            return "c.relname ~ '_idx[0-9]*$'"
        return f"c.relname = {quote_literal(self.index)}"

    def _render_table_condition(self) -> str:
        relation = f"to_regclass({quote_literal(self.relation)})"
        if not self.rebuilds:
            return f"i.indrelid = {relation}"
        if self.relation:
            # A partitioned relation is rebuilt partition by partition. An index leads to its table.
            named = f"SELECT {relation}::oid UNION SELECT relid FROM pg_partition_tree({relation})"
            tables = f"{named} UNION SELECT indrelid FROM pg_index WHERE indexrelid IN ({named})"
        elif self.schema is not None:
            schema = quote_literal(quote_ident(self.schema))
            tables = f"SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace({schema})"
        else:
            return "true"
        # A table's TOAST table is rebuilt with it.
        toast = f"SELECT reltoastrelid FROM pg_class WHERE oid IN ({tables})"
        return f"i.indrelid IN ({tables} UNION {toast})"


def parse_build(sql: str) -> ConcurrentBuild | None:
    """Return the build of a CREATE INDEX or REINDEX with CONCURRENTLY; ``None`` for other statements."""
    parsed = _parse_concurrent(sql)
    if parsed and parsed.kind == "index_stmt":
        statement = parsed.node.index_stmt
        return ConcurrentBuild(_quote_relation(statement.relation), statement.idxname or None)
    if parsed and parsed.kind == "reindex_stmt":
        statement = parsed.node.reindex_stmt
        schema = statement.name if read_enum_name(statement, "kind") == "REINDEX_OBJECT_SCHEMA" else None
        return ConcurrentBuild(_quote_relation(statement.relation), rebuilds=True, schema=schema)
    return None


def is_concurrent(sql: str) -> bool:
    """Return True for a statement with CONCURRENTLY, which waits for old transactions and blocks nobody."""
    return _parse_concurrent(sql) is not None


def _parse_concurrent(sql: str) -> RawStatement | None:
    if "concurrently" not in sql.lower():
        return None
    try:
        found = parse(sql)
    except ParseError:
        return None  # the server reports what is wrong with it
    refusal = find_transaction_refusal(found[0].kind, found[0].node) if len(found) == 1 else None
    return found[0] if refusal and refusal.words.endswith("CONCURRENTLY") else None


def drop_indexes(conn: Connection[Any], names: tuple[str, ...]) -> None:
    """Drop indexes without blocking reads or writes.

    Raises:
        psycopg.errors.LockNotAvailable: Old transactions did not end within ``lock_timeout``.
    """
    for name in names:
        send(conn, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _quote_relation(relation: Any) -> str:
    return ".".join(quote_ident(part) for part in (relation.schemaname, relation.relname) if part)
