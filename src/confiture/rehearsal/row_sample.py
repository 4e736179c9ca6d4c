"""Copy a sample of the rows: some of each table, and every row that they refer to.

A row is told by its table and its place in it (ctid), which stay the same in the one transaction that
reads. The sample grows until every foreign key of a row in it leads to a row in it.
"""

from __future__ import annotations

from typing import Any

import psycopg
from attrs import define, field, frozen
from psycopg import Connection

from confiture.exceptions import RightsFault
from confiture.postgres.session import fetch_rows, quote_literal, send

_MOST_BERNOULLI_PAGES = 10_000
_TABLES = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
        (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''),
        c.reltuples::float8, c.relpages::bigint, n.nspname::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.deptype = 'e')
    ORDER BY 1
"""
_KEYS = """
    SELECT k.conrelid::bigint, k.confrelid::regclass::text,
        (SELECT string_agg(
                format('p.%I OPERATOR(%I.%s) c.%I', f.attname, n.nspname, o.oprname, r.attname), ' AND ')
            FROM unnest(k.conkey, k.confkey, k.conpfeqop) AS u (own, other, equal)
            JOIN pg_operator o ON o.oid = equal JOIN pg_namespace n ON n.oid = o.oprnamespace
            JOIN pg_attribute r ON r.attrelid = k.conrelid AND r.attnum = own
            JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = other)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype = 'f' AND c.relkind = 'r' ORDER BY 1, 2
"""
_SEQUENCES = """
    SELECT format('%I.%I', schemaname, sequencename), last_value FROM pg_sequences
    WHERE last_value IS NOT NULL
"""


@frozen
class SampledTable:
    """A table that rows are taken from.

    Attributes:
        name: Qualified and quoted.
        columns: Those that are stored as given, ``None`` where there are none.
        rows: How many there are by the last ANALYZE, negative where unknown.
        pages: Its size.
        schema: Its schema's name.
    """

    name: str
    columns: str | None
    rows: float
    pages: int
    schema: str


@frozen
class ForeignKey:
    """A foreign key: what its table refers to, and the condition that finds it."""

    parent: str
    condition: str


@define
class RowSample:
    """The rows that are to be copied, by table.

    Attributes:
        conn: Reads them.
        tables: By oid.
        keys: The foreign keys by the oid of their table.
        chosen: The places of the rows by the oid of their table.
    """

    conn: Connection[Any]
    tables: dict[int, SampledTable]
    keys: dict[int, list[ForeignKey]]
    chosen: dict[int, set[str]] = field(factory=dict)

    def take(self, most_rows: int) -> None:
        """Choose at most so many rows of each table, and all that they refer to."""
        new = {oid: self._choose_rows(table, most_rows) for oid, table in self.tables.items()}
        while any(new.values()):
            for oid, places in new.items():
                self.chosen.setdefault(oid, set()).update(places)
            new = self._find_parents(new)

    def _choose_rows(self, table: SampledTable, most_rows: int) -> set[str]:
        share = 100.0 if table.rows <= most_rows else min(100.0, 150.0 * most_rows / table.rows)
        how = "BERNOULLI" if table.pages <= _MOST_BERNOULLI_PAGES else "SYSTEM"
        found = fetch_rows(
            self.conn,
            f"SELECT ctid::text FROM ONLY {table.name} TABLESAMPLE {how} ({share:.6f}) REPEATABLE (1)"
            f" LIMIT {most_rows}",
        )
        return {place for (place,) in found}

    def _find_parents(self, new: dict[int, set[str]]) -> dict[int, set[str]]:
        """Return what rows refer to that is not chosen yet."""
        found: dict[int, set[str]] = {}
        for oid, places in new.items():
            for key in self.keys.get(oid, ()) if places else ():
                for parent, place in self._find_referenced(self.tables[oid], key, places):
                    if parent in self.tables and place not in self.chosen.get(parent, ()):
                        found.setdefault(parent, set()).add(place)
        return found

    def _find_referenced(
        self, child: SampledTable, key: ForeignKey, places: set[str]
    ) -> list[tuple[Any, ...]]:
        return fetch_rows(
            self.conn,
            f"SELECT DISTINCT p.tableoid::bigint, p.ctid::text FROM ONLY {child.name} c JOIN {key.parent} p"
            f" ON {key.condition} WHERE c.ctid = ANY({_render_places(places)})",
        )


def _render_places(places: set[str]) -> str:
    return quote_literal("{" + ",".join(f'"{place}"' for place in sorted(places)) + "}") + "::tid[]"


def begin_read_only_snapshot(conn: Connection[Any]) -> str:
    """See one state of the database from now on, and write nothing; return its name for ``pg_dump``."""
    send(
        conn,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;"
        "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL row_security = off;"
        "SET LOCAL search_path = pg_catalog",
    )
    if conn.info.server_version >= 170000:
        send(conn, "SET LOCAL transaction_timeout = 0")
    return str(fetch_rows(conn, "SELECT pg_export_snapshot()")[0][0])


def copy_rows(
    source: Connection[Any], target: Connection[Any], ledger_schema: str, most_rows: int | None
) -> None:
    """Copy the ledger, and where asked for a sample of the rows.

    Raises:
        RightsFault: The role may not read a table.
    """
    tables = {oid: SampledTable(*rest) for oid, *rest in fetch_rows(source, _TABLES)}
    ours = {oid: table for oid, table in tables.items() if table.schema == ledger_schema}
    others = {oid: table for oid, table in tables.items() if oid not in ours}
    try:
        with target.transaction():
            send(target, "SET LOCAL session_replication_role = replica; SET LOCAL search_path = pg_catalog")
            for table in ours.values():
                _copy(source, target, table, None)
            if most_rows is not None:
                _copy_sample(source, target, others, most_rows)
    except psycopg.errors.InsufficientPrivilege as error:
        raise RightsFault(
            f"role {source.info.user!r} may not read what is to be copied: {error.diag.message_primary}",
            hint="grant it SELECT on all tables (BYPASSRLS where rows are hidden), or leave --sample away",
        ) from error


def thin_out(source: Connection[Any], clone: Connection[Any], ledger_schema: str, most_rows: int) -> None:
    """Leave of a clone's rows a sample only: it is emptied, and the sample copied into it.

    Raises:
        RightsFault: The role may not empty it with triggers and foreign keys at rest.
    """
    tables = {
        oid: SampledTable(*rest) for oid, *rest in fetch_rows(source, _TABLES) if rest[-1] != ledger_schema
    }
    names = ", ".join(table.name for table in tables.values())
    try:
        with clone.transaction():
            send(clone, "SET LOCAL session_replication_role = replica; SET LOCAL search_path = pg_catalog")
            if names:
                send(clone, f"TRUNCATE {names} CASCADE")
                _copy_sample(source, clone, tables, most_rows)
        send(clone, "ANALYZE")
    except psycopg.errors.InsufficientPrivilege as error:
        raise RightsFault(
            f"role {clone.info.user!r} may not thin a clone out: {error.diag.message_primary}",
            hint="rehearse as a superuser, or with samples on a server of our own: --in embedded",
        ) from error


def _copy_sample(
    source: Connection[Any], target: Connection[Any], tables: dict[int, SampledTable], most_rows: int
) -> None:
    keys: dict[int, list[ForeignKey]] = {}
    for oid, parent, condition in fetch_rows(source, _KEYS):
        keys.setdefault(oid, []).append(ForeignKey(parent, condition))
    sample = RowSample(source, tables, keys)
    sample.take(most_rows)
    for oid, places in sample.chosen.items():
        if places:
            _copy(source, target, tables[oid], places)
    for name, value in fetch_rows(source, _SEQUENCES):
        send(target, f"SELECT setval({quote_literal(name)}, {value})")


def _copy(
    source: Connection[Any], target: Connection[Any], table: SampledTable, places: set[str] | None
) -> None:
    if table.columns is None:
        return
    which = "" if places is None else f" WHERE ctid = ANY({_render_places(places)})"
    read = f"COPY (SELECT {table.columns} FROM ONLY {table.name}{which}) TO STDOUT"
    write = f"COPY {table.name} ({table.columns}) FROM STDIN"
    with (
        source.cursor() as reading,
        target.cursor() as writing,
        reading.copy(read.encode()) as rows_out,
        writing.copy(write.encode()) as rows_in,
    ):
        for chunk in rows_out:
            rows_in.write(chunk)
