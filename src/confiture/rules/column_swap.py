"""Write a change of type as a swap: a new column is filled, and takes the place of the old one."""

from __future__ import annotations

from confiture.rules.column_copy import ColumnCopy, write_copy
from confiture.rules.parse_tree import AlterCommand, QualifiedName, derive_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import RecipePart
from confiture.sql.parser import deparse_expression, deparse_type
from confiture.sql.quote import quote_ident


def write_swap(
    statement: ParsedStatement, table: QualifiedName, command: AlterCommand
) -> tuple[RecipePart, ...]:
    """Return migrations that add a column of the new type, fill it, and swap it for the old column."""
    swap = _read_swap(statement, table, command)
    row = f"(SELECT {swap.value} FROM (SELECT NEW.*) AS {quote_ident(table.name)})"
    value = f"NEW.{swap.old}" if swap.value == swap.old else row
    return write_copy(statement, swap, (f"NEW.{swap.new} := {value};",))


def _read_swap(statement: ParsedStatement, table: QualifiedName, command: AlterCommand) -> ColumnCopy:
    column, definition = command.tree.name, command.definition.column_def
    type_name = deparse_type(definition.type_name)
    if definition.coll_clause.collname:
        names = (quote_ident(item.string.sval) for item in definition.coll_clause.collname)
        type_name += f" COLLATE {'.'.join(names)}"
    # Without USING PostgreSQL casts as in an assignment, which refuses what is too long.
    using = definition.raw_default if definition.HasField("raw_default") else None
    return ColumnCopy(
        table,
        column,
        derive_name(column, "", "new"),
        column,
        type_name,
        quote_ident(column) if using is None else deparse_expression(using),
        statement.migration.schema.find_column(table, column),
    )
