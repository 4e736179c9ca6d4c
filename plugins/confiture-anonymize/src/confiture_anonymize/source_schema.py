"""Read the tables of a database, with what decides how a column can be masked."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from attrs import frozen
from psycopg import Connection
from psycopg import sql as compose

Sort = Literal[
    "text",
    "json",
    "inet",
    "date",
    "timestamp",
    "bytea",
    "uuid",
    "integer",
    "number",
    "boolean",
    "enum",
    "other",
]
_SORTS: dict[str, Sort] = {
    "json": "json",
    "jsonb": "json",
    "inet": "inet",
    "cidr": "inet",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "bytea": "bytea",
    "uuid": "uuid",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "numeric": "number",
    "float4": "number",
    "float8": "number",
    "money": "number",
    "oid": "integer",
    "bool": "boolean",
    "interval": "number",
}


@frozen
class Column:
    """One column of a table.

    Attributes:
        name: As in the catalog.
        type: As PostgreSQL prints it, ``"character varying(40)"``.
        base_type: The name of its type in the catalog, below all domains: ``"varchar"``.
        sort: What its values are; ``"other"`` for arrays of values that may be personal.
        max_chars: The longest text that fits; ``None``: any.
        not_null: True if it is NOT NULL.
        generated: True if the server computes it, so that it cannot be written.
        unique: True if it is part of a unique index.
        comment: ``None`` if there is none.
    """

    name: str
    type: str
    base_type: str
    sort: Sort
    max_chars: int | None = None
    not_null: bool = False
    generated: bool = False
    unique: bool = False
    comment: str | None = None


@frozen
class ForeignKey:
    """A foreign key of a table.

    Attributes:
        name: The constraint's name.
        columns: Its columns.
        target: The table that it refers to, as ``(schema, name)``.
        target_columns: The columns there, in the same order.
    """

    name: str
    columns: tuple[str, ...]
    target: tuple[str, str]
    target_columns: tuple[str, ...]


@frozen
class Table:
    """One table whose rows are copied; of a partitioned one, the root.

    Attributes:
        schema: Its schema.
        name: Its name.
        partitioned: True if its rows are in partitions.
        columns: In order.
        primary_key: Its columns; empty if there is none.
        foreign_keys: By name.
    """

    schema: str
    name: str
    partitioned: bool
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def label(self) -> str:
        """The qualified name, for messages."""
        return f"{self.schema}.{self.name}"

    @property
    def identity(self) -> tuple[str, str]:
        """The key under which foreign keys name it."""
        return self.schema, self.name

    @property
    def sql(self) -> str:
        """The qualified name as SQL, quoted."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def rows_sql(self) -> str:
        """What stands after FROM: rows of tables that inherit from it are copied with their own table."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"


def quote(name: str) -> str:
    """Return a name as an SQL identifier."""
    return compose.Identifier(name).as_string(None)


def quote_text(value: str) -> str:
    """Return a text as an SQL literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


_TABLES = """
    SELECT c.oid, n.nspname, c.relname, c.relkind = 'p'
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
        AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', %(ledger)s)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
            WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    ORDER BY 2, 3"""
_COLUMNS = """
    WITH RECURSIVE base (oid, root, typmod) AS (
        SELECT t.oid, t.oid, -1 FROM pg_catalog.pg_type t
        UNION ALL
        SELECT b.oid, t.typbasetype, t.typtypmod FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.root
        WHERE t.typtype = 'd')
    SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typname, t.typcategory,
        element.typname, element.typcategory, greatest(a.atttypmod, b.typmod), a.attnotnull,
        a.attgenerated <> '', pg_catalog.col_description(a.attrelid, a.attnum),
        EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
            AND (a.attnum = ANY (i.indkey::int2[]) OR i.indexprs IS NOT NULL AND EXISTS (
                SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                AND d.objid = i.indexrelid AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum)))
    FROM pg_catalog.pg_attribute a
    JOIN base b ON b.oid = a.atttypid JOIN pg_catalog.pg_type t ON t.oid = b.root AND t.typtype <> 'd'
    LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem AND t.typcategory = 'A'
    WHERE a.attrelid = ANY (%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum"""
_KEYS = """
    SELECT o.conrelid, o.contype::text, o.conname, {columns}, tn.nspname, t.relname, {target_columns}
    FROM pg_catalog.pg_constraint o LEFT JOIN pg_catalog.pg_class t ON t.oid = o.confrelid
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    WHERE o.contype IN ('p', 'f') AND o.conrelid = ANY (%(oids)s) AND o.conparentid = 0
    ORDER BY o.conrelid, o.conname"""
_NAMES = """ARRAY(SELECT a.attname::text FROM pg_catalog.unnest({numbers}) WITH ORDINALITY AS k (num, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.num ORDER BY k.place)"""


def read_tables(conn: Connection[Any], ledger_schema: str) -> tuple[Table, ...]:
    """Return the tables of a database, without those of extensions and of ``ledger_schema``."""
    found = conn.execute(_TABLES, {"ledger": ledger_schema}).fetchall()
    oids = [row[0] for row in found]
    columns: defaultdict[int, list[Column]] = defaultdict(list)
    for row in conn.execute(_COLUMNS, {"oids": oids}):
        columns[row[0]].append(_build_column(*row[1:]))
    query = _KEYS.format(
        columns=_NAMES.format(numbers="o.conkey", relation="o.conrelid"),
        target_columns=_NAMES.format(numbers="o.confkey", relation="o.confrelid"),
    )
    primary: dict[int, tuple[str, ...]] = {}
    foreign: defaultdict[int, list[ForeignKey]] = defaultdict(list)
    for oid, sort, name, names, schema, target, target_names in conn.execute(query.encode(), {"oids": oids}):
        if sort == "p":
            primary[oid] = tuple(names)
        else:
            foreign[oid].append(ForeignKey(name, tuple(names), (schema, target), tuple(target_names)))
    return tuple(
        Table(schema, name, partitioned, tuple(columns[oid]), primary.get(oid, ()), tuple(foreign[oid]))
        for oid, schema, name, partitioned in found
    )


def _build_column(
    name: str,
    type_name: str,
    base_type: str,
    category: str,
    element_type: str | None,
    element_category: str | None,
    typmod: int,
    not_null: bool,
    generated: bool,
    comment: str | None,
    unique: bool,
) -> Column:
    # The type of a text of n characters has the modifier n + 4.
    max_chars = typmod - 4 if base_type in ("varchar", "bpchar") and typmod > 4 else None
    sort = _choose_sort(base_type, category)
    plain = ("integer", "number", "uuid", "enum", "boolean")
    # An array of numbers holds no more than a number does.
    if element_type and _choose_sort(element_type, element_category or "") in plain:
        sort = "boolean"
    return Column(name, type_name, base_type, sort, max_chars, not_null, generated, unique, comment)


def _choose_sort(base_type: str, category: str) -> Sort:
    if base_type == "name" or base_type == "char":
        return "text"
    return "text" if category == "S" else "enum" if category == "E" else _SORTS.get(base_type, "other")
