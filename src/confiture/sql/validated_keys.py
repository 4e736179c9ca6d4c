"""List the constraints that an ALTER TABLE checks the rows of a table for, if they are foreign keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_name


@frozen
class ValidatedKey:
    """What a statement says of a constraint that it validates.

    Attributes:
        table: The table as the statement names it, quoted.
        name: The constraint's name; empty if PostgreSQL chooses it.
        columns: The referencing columns; empty for VALIDATE CONSTRAINT, which may name a CHECK too.
    """

    table: str
    name: str = ""
    columns: tuple[str, ...] = ()


def list_validated_keys(statement: Any) -> Iterator[ValidatedKey]:
    """Yield the foreign keys that an ALTER TABLE validates, and whatever VALIDATE CONSTRAINT names."""
    table = quote_name(statement.relation.schemaname, statement.relation.relname)
    for node in statement.cmds:
        command = node.alter_table_cmd
        subtype, definition = read_enum_name(command, "subtype"), getattr(command, "def")
        if subtype == "AT_ValidateConstraint":
            yield ValidatedKey(table, command.name)
        elif subtype == "AT_AddConstraint" and _is_checked_key(definition.constraint):
            columns = tuple(column.string.sval for column in definition.constraint.fk_attrs)
            yield ValidatedKey(table, definition.constraint.conname, columns)
        elif subtype == "AT_AddColumn":
            yield from _list_column_keys(table, definition.column_def)


def _list_column_keys(table: str, column: Any) -> Iterator[ValidatedKey]:
    constraints = [item.constraint for item in column.constraints]
    # A new column without a default is NULL in every row, which no foreign key looks at.
    if not any(
        read_enum_name(constraint, "contype") in ("CONSTR_DEFAULT", "CONSTR_GENERATED")
        for constraint in constraints
    ):
        return
    for constraint in constraints:
        if _is_checked_key(constraint):
            yield ValidatedKey(table, constraint.conname, (column.colname,))


def _is_checked_key(constraint: Any) -> bool:
    return read_enum_name(constraint, "contype") == "CONSTR_FOREIGN" and not constraint.skip_validation
