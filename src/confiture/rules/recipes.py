"""The safer way, as SQL to paste: migrations one below the other, with the reader's own names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen

from confiture.rules.parse_tree import Command, Constraint, Name, derived
from confiture.sql.parser import deparse_statement
from confiture.sql.quote import quote_ident

BATCH_ROWS = 10_000


@frozen
class Part:
    """One migration of a recipe.

    Attributes:
        lines: Its statements and comments.
        outside: Whether it runs outside a transaction.
    """

    lines: tuple[str, ...]
    outside: bool = False


def part(*lines: str) -> Part:
    """Return a migration that runs in a transaction."""
    return Part(lines)


def outside(*lines: str) -> Part:
    """Return a migration that runs statement by statement."""
    return Part(lines, outside=True)


def recipe(*parts: Part) -> str:
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


def altered(stmt: Any, commands: Iterable[Command]) -> str:
    """Return the ALTER TABLE with these of its commands only."""
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    del copied.cmds[:]
    for command in commands:
        copied.cmds.add().alter_table_cmd.CopyFrom(command.tree)
    return f"{deparse_statement('alter_table_stmt', copied)};"


def validated_later(stmt: Any, constraint: Constraint, name: str) -> tuple[Part, Part]:
    """Add a constraint without looking at the rows, then look while others read and write."""
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    del copied.cmds[:]
    command = copied.cmds.add().alter_table_cmd
    _set(command, "subtype", "AT_AddConstraint")
    tree = getattr(command, "def").constraint
    tree.CopyFrom(constraint.tree)
    tree.conname, tree.skip_validation, tree.initially_valid = name, True, False
    if constraint.sort == "CONSTR_FOREIGN" and constraint.column is not None:
        tree.fk_attrs.add().string.sval = constraint.column.colname
    table = Name(stmt.relation.schemaname, stmt.relation.relname, stmt.relation.schemaname or None)
    return (
        part(f"{deparse_statement('alter_table_stmt', copied)};"),
        part(f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote_ident(name)};"),
    )


def _set(message: Any, name: str, value: str) -> None:
    setattr(message, name, message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_name[value].number)


def not_null(table: Name, *columns: str) -> tuple[Part, Part]:
    """Make columns NOT NULL: the rows are looked at under a lock that lets others read and write."""
    names = [(column, quote_ident(derived(table.name, column, "filled"))) for column in columns]
    add = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({quote_ident(each)} IS NOT NULL) NOT VALID" for each, name in names
    )
    validate = ", ".join(f"VALIDATE CONSTRAINT {name}" for _, name in names)
    required = ", ".join(f"ALTER COLUMN {quote_ident(column)} SET NOT NULL" for column in columns)
    return (
        part(f"ALTER TABLE {table} {add};"),
        part(
            f"ALTER TABLE {table} {validate};",
            f"ALTER TABLE {table} {required};",
            f"ALTER TABLE {table} {', '.join(f'DROP CONSTRAINT {name}' for _, name in names)};",
        ),
    )


def backfill(table: Name, column: str, value: str = "DEFAULT") -> Part:
    """Fill a column a batch at a time, each committed."""
    name = quote_ident(column)
    return outside(
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
