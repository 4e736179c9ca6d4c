"""The table whose key is walked: what the server knows of it, and where the next batch ends."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from psycopg import Cursor, sql

from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.batch import Batch
from confiture_backfill.fill import locate_errors
from confiture_backfill.read_model import ReadModel

# Keys travel as text. In JSON's way, dates read the same whatever DateStyle says.
_AS_TEXT = "to_json({column}) #>> '{{}}'"
_LOOK = """
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
    """A table whose key is walked.

    Attributes:
        batch: As it was configured.
        table: Its name.
        column: The key's.
        type: The key's type, as SQL.
        identity: Which column of which table it is, however they are called.
        nullable: Whether there may be rows without a key.
        total_rows: How many rows the planner thinks it has; ``None`` where it does not know.
        indexed: Whether an index finds the end of a batch; ``None`` where there can be none.
    """

    batch: Batch
    table: sql.Identifier
    column: sql.Identifier
    type: sql.SQL
    identity: str
    nullable: bool
    total_rows: float | None
    indexed: bool | None

    def find_highest(self, cursor: Cursor[Any]) -> str | None:
        """Return the highest key that there is; ``None`` in an empty table."""
        query = sql.SQL(
            f"SELECT {_AS_TEXT} FROM {{table}} WHERE {{column}} IS NOT NULL ORDER BY {{column}} DESC LIMIT 1"
        )
        return _fetch_value(cursor.execute(query.format(table=self.table, column=self.column)))

    def has_null(self, cursor: Cursor[Any]) -> bool:
        """Whether there are rows without a key: no range would ever hold them."""
        query = sql.SQL("SELECT 'yes' FROM {table} WHERE {column} IS NULL LIMIT 1")
        found = self.nullable and _fetch_value(
            cursor.execute(query.format(table=self.table, column=self.column))
        )
        return bool(found)

    def find_batch_end(self, cursor: Cursor[Any], after: str | None, top: str, rows: int) -> str:
        """Return the last key of the next ``rows`` rows after a key; ``top`` where there are fewer."""
        # The upper end is compared outside: with both in one WHERE and no statistics, the planner takes
        # the range for small, and sorts all that is left of the table for each batch.
        query = sql.SQL(
            f"SELECT {_AS_TEXT} FROM (SELECT {{column}} FROM {{table}} WHERE {{rest}} ORDER BY {{column}} "
            "LIMIT 1 OFFSET {skip}) AS batch WHERE {column} <= {top}"
        ).format(
            column=self.column,
            table=self.table,
            rest=self._render_after(self.column, after),
            skip=rows - 1,
            top=self._render_key(top),
        )
        return _fetch_value(cursor.execute(query)) or top

    def render_range(self, cursor: Cursor[Any], after: str | None, end: str) -> str:
        """Return the condition for the rows after a key, up to and including another, for the INSERT."""
        key = sql.SQL(self.batch.key)
        upper = sql.SQL("{} <= {}").format(key, self._render_key(end))
        if after is not None:
            upper = sql.SQL("{} AND {}").format(self._render_after(key, after), upper)
        return sql.SQL("({})").format(upper).as_string(cursor)

    def _render_after(self, key: sql.Composable, after: str | None) -> sql.Composed:
        if after is None:
            return sql.SQL("{} IS NOT NULL").format(key)
        return sql.SQL("{} > {}").format(key, self._render_key(after))

    def _render_key(self, value: str) -> sql.Composed:
        return sql.SQL("{}::{}").format(sql.Literal(value), self.type)


def find_source(cursor: Cursor[Any], model: ReadModel, batch: Batch) -> SourceTable:
    """Ask the server about the table that is walked.

    Raises:
        PluginSettingsFault: There is no such table or column, or no index on it.
    """
    with locate_errors(model, "looking up"):
        row = cursor.execute(_LOOK, [batch.column, batch.source]).fetchone()
    if row is None or row[3] is None:
        what = f"no table {batch.source}" if row is None else f"no column {batch.column} in {batch.source}"
        raise PluginSettingsFault(
            f"{model.source}: there is {what} to walk in batches",
            hint="check the batch's source and column (quoted where PostgreSQL would)",
        )
    schema, name, can_be_indexed, column, type, not_null, identity, total_rows, indexed = row
    if can_be_indexed and not indexed:
        raise PluginSettingsFault(
            f"{model.source}: {batch.source} has no index that begins with {batch.column}: "
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
