"""Read the table along whose key the batches go, and find where the next batch ends."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from psycopg import Cursor, sql

from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.batch import Batch
from confiture_backfill.fill import locate_errors
from confiture_backfill.read_model import ReadModel

# Keys are fetched as text. As JSON, a date is written the same way under every DateStyle.
_AS_TEXT = "to_json({column}) #>> '{{}}'"
_SOURCE = """
    SELECT n.nspname::text, c.relname::text, c.relkind IN ('r', 'p', 'm'), a.attname::text,
        format_type(a.atttypid, a.atttypmod), a.attnotnull, format('%%s.%%s', c.oid, a.attnum),
        nullif(greatest(c.reltuples, 0), 0)::float8,
        EXISTS (
            SELECT FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
            JOIN pg_catalog.pg_am am ON am.oid = ic.relam
            JOIN pg_catalog.pg_opclass op ON op.oid = i.indclass[0]
            WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL
                AND am.amname = 'btree' AND op.opcdefault
        )
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND parse_ident(%s) = ARRAY[a.attname::text]
    WHERE c.oid = to_regclass(%s)
"""


@frozen
class SourceTable:
    """A table along whose key the batches go.

    Attributes:
        batch: The batch's settings.
        table: Its name.
        column: The name of the key.
        type: The key's type, as SQL.
        identity: The table's oid and the column's number: renaming them changes nothing.
        nullable: Whether there may be rows without a key.
        total_rows: The planner's estimate of its rows; ``None`` if there is none.
        indexed: Whether an index finds the end of a batch; ``None`` if it cannot have an index.
    """

    batch: Batch
    table: sql.Identifier
    column: sql.Identifier
    type: sql.SQL
    identity: str
    nullable: bool
    total_rows: float | None
    indexed: bool | None

    def find_highest_key(self, cursor: Cursor[Any]) -> str | None:
        """Return the highest key; ``None`` if the table is empty."""
        query = sql.SQL(
            f"SELECT {_AS_TEXT} FROM {{table}} WHERE {{column}} IS NOT NULL ORDER BY {{column}} DESC LIMIT 1"
        )
        return _fetch_value(cursor.execute(query.format(table=self.table, column=self.column)))

    def has_null(self, cursor: Cursor[Any]) -> bool:
        """Return whether there are rows without a key, which no range includes."""
        query = sql.SQL("SELECT 'yes' FROM {table} WHERE {column} IS NULL LIMIT 1")
        found = self.nullable and _fetch_value(
            cursor.execute(query.format(table=self.table, column=self.column))
        )
        return bool(found)

    def find_end(self, cursor: Cursor[Any], after: str | None, top: str, rows: int) -> str:
        """Return the last key of the next ``rows`` rows after a key; ``top`` if there are fewer rows."""
        # The upper end is compared outside. With both in one WHERE and no statistics, the planner expects
        # few rows, and sorts the whole rest of the table for each batch.
        query = sql.SQL(
            f"SELECT {_AS_TEXT} FROM (SELECT {{column}} FROM {{table}} WHERE {{rest}} ORDER BY {{column}} "
            "LIMIT 1 OFFSET {skip}) AS batch WHERE {column} <= {top}"
        ).format(
            column=self.column,
            table=self.table,
            rest=self._make_lower_bound(self.column, after),
            skip=rows - 1,
            top=self._cast_key(top),
        )
        return _fetch_value(cursor.execute(query)) or top

    def make_condition(self, cursor: Cursor[Any], after: str | None, end: str) -> str:
        """Return the condition for the rows after a key, up to and including another, for the INSERT."""
        key = sql.SQL(self.batch.key)
        upper = sql.SQL("{} <= {}").format(key, self._cast_key(end))
        if after is not None:
            upper = sql.SQL("{} AND {}").format(self._make_lower_bound(key, after), upper)
        return sql.SQL("({})").format(upper).as_string(cursor)

    def _make_lower_bound(self, key: sql.Composable, after: str | None) -> sql.Composed:
        if after is None:
            return sql.SQL("{} IS NOT NULL").format(key)
        return sql.SQL("{} > {}").format(key, self._cast_key(after))

    def _cast_key(self, value: str) -> sql.Composed:
        return sql.SQL("{}::{}").format(sql.Literal(value), self.type)


def read_source_table(cursor: Cursor[Any], model: ReadModel, batch: Batch) -> SourceTable:
    """Return the table along whose key the batches go.

    Raises:
        PluginSettingsFault: There is no such table or column, or no index on it.
    """
    with locate_errors(model, "looking up"):
        row = cursor.execute(_SOURCE, [batch.column, batch.source]).fetchone()
    if row is None or row[3] is None:
        missing = f"no table {batch.source}" if row is None else f"no column {batch.column} in {batch.source}"
        raise PluginSettingsFault(
            f"{model.place}: there is {missing}, which the batches need",
            hint="check the batch's source and column (quoted if PostgreSQL would)",
        )
    schema, name, can_be_indexed, column, type, not_null, identity, total_rows, indexed = row
    if can_be_indexed and not indexed:
        raise PluginSettingsFault(
            f"{model.place}: {batch.source} has no index that begins with {batch.column}: "
            "each batch would read the whole table",
            hint=f"CREATE INDEX CONCURRENTLY ON {batch.source} ({batch.column});",
        )
    return SourceTable(
        batch=batch,
        table=sql.Identifier(schema, name),
        column=sql.Identifier(column),
        type=sql.SQL(type),
        identity=identity,
        nullable=not not_null,
        total_rows=total_rows,
        indexed=indexed if can_be_indexed else None,
    )


def _fetch_value(cursor: Cursor[Any]) -> str | None:
    row = cursor.fetchone()
    return None if row is None else str(row[0])
