"""The safer way, as SQL to paste: migrations one below the other, with the reader's own names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from confiture.rules.parse_tree import AlterCommand, ParsedConstraint, QualifiedName, derive_name
from confiture.sql.parser import deparse_statement
from confiture.sql.quote import quote_ident

BATCH_ROWS = 10_000


@frozen
class RecipePart:
    """One migration of a recipe.

    Attributes:
        lines: Its statements and comments.
        outside: Whether it runs outside a transaction.
    """

    lines: tuple[str, ...]
    outside: bool = False


def write_part(*lines: str) -> RecipePart:
    """Return a migration that runs in a transaction."""
    return RecipePart(lines)


def write_non_transactional(*lines: str) -> RecipePart:
    """Return a migration that runs statement by statement."""
    return RecipePart(lines, outside=True)


def render_recipe(*parts: RecipePart) -> str:
    """Return the migrations as one text; each begins with a line that counts it, where there are several."""
    return "\n\n".join(
        "\n".join(
            (
                *((f"-- migration {number}",) if len(parts) > 1 else ()),
                *(("-- confiture: no-transaction",) if part.outside else ()),
                *part.lines,
            )
        )
        for number, part in enumerate(parts, 1)
    )


def render_alter(stmt: Any, commands: Iterable[AlterCommand]) -> str:
    """Return the ALTER TABLE with these of its commands only."""
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    del copied.cmds[:]
    for command in commands:
        copied.cmds.add().alter_table_cmd.CopyFrom(command.tree)
    return f"{deparse_statement('alter_table_stmt', copied)};"


def split_validation(stmt: Any, constraint: ParsedConstraint, name: str) -> tuple[RecipePart, RecipePart]:
    """Add a constraint without looking at the rows, then look while others read and write."""
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    del copied.cmds[:]
    command = copied.cmds.add().alter_table_cmd
    _set_field(command, "subtype", "AT_AddConstraint")
    tree = getattr(command, "def").constraint
    tree.CopyFrom(constraint.tree)
    tree.conname, tree.skip_validation, tree.initially_valid = name, True, False
    if constraint.sort == "CONSTR_FOREIGN" and constraint.column is not None:
        tree.fk_attrs.add().string.sval = constraint.column.colname
    table = QualifiedName(stmt.relation.schemaname, stmt.relation.relname, stmt.relation.schemaname or None)
    return (
        write_part(f"{deparse_statement('alter_table_stmt', copied)};"),
        write_part(f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote_ident(name)};"),
    )


def _set_field(message: Any, name: str, value: str) -> None:
    setattr(message, name, message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_name[value].number)


def write_not_null(table: QualifiedName, *columns: str) -> tuple[RecipePart, RecipePart]:
    """Make columns NOT NULL: the rows are looked at under a lock that lets others read and write."""
    names = [(column, quote_ident(derive_name(table.name, column, "filled"))) for column in columns]
    add = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({quote_ident(text)} IS NOT NULL) NOT VALID" for text, name in names
    )
    validate = ", ".join(f"VALIDATE CONSTRAINT {name}" for _, name in names)
    required = ", ".join(f"ALTER COLUMN {quote_ident(column)} SET NOT NULL" for column in columns)
    return (
        write_part(f"ALTER TABLE {table} {add};"),
        write_part(
            f"ALTER TABLE {table} {validate};",
            f"ALTER TABLE {table} {required};",
            f"ALTER TABLE {table} {', '.join(f'DROP CONSTRAINT {name}' for _, name in names)};",
        ),
    )


def write_backfill(table: QualifiedName, column: str, value: str = "DEFAULT") -> RecipePart:
    """Fill a column a batch at a time, each committed."""
    name = quote_ident(column)
    return write_non_transactional(
        "DO $$",
        "BEGIN",
        "  LOOP",
        f"    UPDATE {table} SET {name} = {value} WHERE ctid = ANY (ARRAY(",
        f"      SELECT ctid FROM {table} WHERE {name} IS NULL LIMIT {BATCH_ROWS}));",
        "    EXIT WHEN NOT FOUND;",
        "    COMMIT;",
        "  END LOOP;",
        "END $$;",
    )
