"""Copy a sample of the rows: some of each table, and every row that they reference.

The sample grows until the foreign keys of all its rows reference rows in it. Otherwise a migration that
validates a foreign key would fail on the sample, though not on the database. A row is identified by its
table and its ctid, which stays the same for the snapshot that all queries of the sample use.
"""

from __future__ import annotations

from typing import Any

import psycopg
from attrs import define, field, frozen
from psycopg import Connection

from confiture.exceptions import RightsFault
from confiture.postgres.session import fetch_rows, quote_literal, send

# TABLESAMPLE BERNOULLI reads every page of the table, SYSTEM only those that it samples.
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
    """A table to sample.

    Attributes:
        name: Schema-qualified and quoted.
        columns: The columns that COPY can write, not the generated ones; ``None`` if there are none.
        rows: PostgreSQL's estimate of its rows; negative if unknown.
        pages: PostgreSQL's estimate of its pages.
        schema: The name of its schema.
    """

    name: str
    columns: str | None
    rows: float
    pages: int
    schema: str


@frozen
class SampledForeignKey:
    """A foreign key of a table.

    Attributes:
        parent: The referenced table, qualified and quoted.
        condition: The join condition of the referenced table ``p`` and the referencing table ``c``.
    """

    parent: str
    condition: str


@define
class RowSample:
    """The rows to copy.

    Attributes:
        conn: The connection to the source, in one snapshot.
        tables: The tables by oid.
        keys: The foreign keys by the oid of the referencing table.
        chosen: The ctids of the chosen rows by the oid of their table.
    """

    conn: Connection[Any]
    tables: dict[int, SampledTable]
    keys: dict[int, list[SampledForeignKey]]
    chosen: dict[int, set[str]] = field(factory=dict)

    def take(self, most_rows: int) -> None:
        """Choose up to ``most_rows`` rows of each table, and every row that they reference."""
        new = {oid: self._choose_rows(table, most_rows) for oid, table in self.tables.items()}
        while any(new.values()):
            for oid, places in new.items():
                self.chosen.setdefault(oid, set()).update(places)
            new = self._find_parents(new)

    def _choose_rows(self, table: SampledTable, most_rows: int) -> set[str]:
        # A half more than needed, because the share is of an estimate; LIMIT cuts the rest off.
        percent = 100.0 if table.rows <= most_rows else min(100.0, 150.0 * most_rows / table.rows)
        method = "BERNOULLI" if table.pages <= _MOST_BERNOULLI_PAGES else "SYSTEM"
        # REPEATABLE: two rehearsals of the same rows get the same sample.
        found = fetch_rows(
            self.conn,
            f"SELECT ctid::text FROM ONLY {table.name} TABLESAMPLE {method} ({percent:.6f}) REPEATABLE (1)"
            f" LIMIT {most_rows}",
        )
        return {place for (place,) in found}

    def _find_parents(self, new: dict[int, set[str]]) -> dict[int, set[str]]:
        """Return the rows that these rows reference and that are not chosen yet."""
        found: dict[int, set[str]] = {}
        for oid, places in new.items():
            for key in self.keys.get(oid, ()) if places else ():
                for parent, place in self._find_referenced(self.tables[oid], key, places):
                    if parent in self.tables and place not in self.chosen.get(parent, ()):
                        found.setdefault(parent, set()).add(place)
        return found

    def _find_referenced(
        self, child: SampledTable, key: SampledForeignKey, places: set[str]
    ) -> list[tuple[Any, ...]]:
        return fetch_rows(
            self.conn,
            f"SELECT DISTINCT p.tableoid::bigint, p.ctid::text FROM ONLY {child.name} c JOIN {key.parent} p"
            f" ON {key.condition} WHERE c.ctid = ANY({_render_places(places)})",
        )


def _render_places(places: set[str]) -> str:
    return quote_literal("{" + ",".join(f'"{place}"' for place in sorted(places)) + "}") + "::tid[]"


def begin_read_only_snapshot(conn: Connection[Any]) -> str:
    """Begin a read-only transaction with one snapshot; return the snapshot's name for ``pg_dump``."""
    # row_security = off: an error instead of rows silently left out. With this search_path, regclass prints
    # qualified names.
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
    """Copy the ledger, and with ``most_rows`` a sample of the other tables.

    Raises:
        RightsFault: The role may not read a table.
    """
    tables = {oid: SampledTable(*rest) for oid, *rest in fetch_rows(source, _TABLES)}
    ours = {oid: table for oid, table in tables.items() if table.schema == ledger_schema}
    others = {oid: table for oid, table in tables.items() if oid not in ours}
    try:
        with target.transaction():
            # As a replica, the target fires no triggers and checks no foreign keys: the order of the tables
            # does not matter.
            send(target, "SET LOCAL session_replication_role = replica; SET LOCAL search_path = pg_catalog")
            for table in ours.values():
                _copy(source, target, table, None)
            if most_rows is not None:
                _copy_sample(source, target, others, most_rows)
    except psycopg.errors.InsufficientPrivilege as error:
        # The ledger's rows are copied without --sample too.
        sampled = ", or omit --sample" if most_rows is not None else ""
        raise RightsFault(
            f"role {source.info.user!r} may not read the rows to copy: {error.diag.message_primary}",
            hint=f"grant it SELECT on all tables (and BYPASSRLS if row security hides rows){sampled}",
        ) from error


def thin_out(source: Connection[Any], clone: Connection[Any], ledger_schema: str, most_rows: int) -> None:
    """Truncate the tables of a clone, and copy a sample of the source's rows into them.

    Raises:
        RightsFault: The role may not disable triggers and foreign keys for that.
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
            f"role {clone.info.user!r} may not reduce a clone to a sample: {error.diag.message_primary}",
            hint="rehearse as a superuser, or on an embedded server: --in embedded",
        ) from error


def _copy_sample(
    source: Connection[Any], target: Connection[Any], tables: dict[int, SampledTable], most_rows: int
) -> None:
    keys: dict[int, list[SampledForeignKey]] = {}
    for oid, parent, condition in fetch_rows(source, _KEYS):
        keys.setdefault(oid, []).append(SampledForeignKey(parent, condition))
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
    where = "" if places is None else f" WHERE ctid = ANY({_render_places(places)})"
    read = f"COPY (SELECT {table.columns} FROM ONLY {table.name}{where}) TO STDOUT"
    write = f"COPY {table.name} ({table.columns}) FROM STDIN"
    with (
        source.cursor() as reading,
        target.cursor() as writing,
        reading.copy(read.encode()) as rows_out,
        writing.copy(write.encode()) as rows_in,
    ):
        for chunk in rows_out:
            rows_in.write(chunk)
