"""Write the safer SQL to paste: one or more migrations, with the names of the migration that was read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from confiture.rules.parse_tree import AlterCommand, ParsedConstraint, QualifiedName, derive_name
from confiture.sql.parser import deparse_statement
from confiture.sql.quote import quote_ident

BATCH_ROWS = 10_000
"""Rows that one batch of a backfill updates, and so locks until its COMMIT."""

NO_TRANSACTION = "-- confiture: no-transaction"
"""The directive at the top of a migration that runs outside a transaction."""

_LABELS = (
    ("REINDEX", "rebuild_index"),
    ("DROP INDEX", "drop_index"),
    ("INDEX CONCURRENTLY", "build_index"),
    ("DETACH PARTITION", "detach"),
    ("ATTACH PARTITION", "attach"),
    ("DO $$", "backfill"),
    ("SET NOT NULL", "set_not_null"),
    ("VALIDATE CONSTRAINT", "validate"),
    ("USING INDEX", "add_constraint"),
    ("NOT VALID", "add_constraint"),
    ("RENAME COLUMN", "swap"),
)
_DIRECTIVE = re.compile(r"[ \t]*--[ \t]*confiture[ \t]*:", re.IGNORECASE)


@frozen
class RecipePart:
    """One migration of a recipe.

    Attributes:
        lines: The statements and comments.
        outside: True if the migration runs outside a transaction.
        directives: Comments for the top of the file besides ``no-transaction``.
    """

    lines: tuple[str, ...]
    outside: bool = False
    directives: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The statements, one below the other."""
        return "\n".join(self.lines)

    @property
    def label(self) -> str:
        """What the migration does, as words of a file's name: ``build_index``."""
        return next((label for words, label in _LABELS if words in self.text), "")

    @property
    def header(self) -> tuple[str, ...]:
        """The comments for the top of the file."""
        return ((NO_TRANSACTION,) if self.outside else ()) + self.directives


@frozen
class Recipe:
    """The migrations to write instead of a statement.

    Attributes:
        parts: The migrations, in order.
        replaces: The positions of other statements of the file that the migrations contain too.
    """

    parts: tuple[RecipePart, ...]
    replaces: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The migrations as one text; if there are several, each begins with its number."""
        return "\n\n".join(
            "\n".join(
                (
                    *((f"-- migration {number}",) if len(self.parts) > 1 else ()),
                    *part.header,
                    *part.lines,
                )
            )
            for number, part in enumerate(self.parts, 1)
        )


def read_recipe(given: Recipe | str | None) -> Recipe | None:
    """Return a rule's recipe; a text is one migration, whose first lines may be directives."""
    if not isinstance(given, str):
        return given
    lines = given.split("\n")
    count = next((n for n, line in enumerate(lines) if not is_directive(line)), len(lines))
    directives = tuple(line for line in lines[:count] if line != NO_TRANSACTION)
    part = RecipePart(tuple(lines[count:]), NO_TRANSACTION in lines[:count], directives=directives)
    return Recipe((part,))


def is_directive(line: str) -> bool:
    """Return True if a line is a comment such as ``-- confiture: no-transaction``."""
    return _DIRECTIVE.match(line) is not None


def write_part(*lines: str) -> RecipePart:
    """Return a migration that runs in one transaction."""
    return RecipePart(lines)


def write_non_transactional(*lines: str) -> RecipePart:
    """Return a migration whose statements are committed one by one."""
    return RecipePart(lines, outside=True)


def write_recipe(*parts: RecipePart, replaces: tuple[int, ...] = ()) -> Recipe:
    """Return the migrations as a recipe."""
    return Recipe(parts, replaces)


def render_alter(stmt: Any, commands: Iterable[AlterCommand]) -> str:
    """Return the ALTER TABLE with only these commands."""
    # A copy: the rules after this one still read the original tree.
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    del copied.cmds[:]
    for command in commands:
        copied.cmds.add().alter_table_cmd.CopyFrom(command.tree)
    return f"{deparse_statement('alter_table_stmt', copied)};"


def split_validation(stmt: Any, constraint: ParsedConstraint, name: str) -> tuple[RecipePart, RecipePart]:
    """Return a migration that adds the constraint NOT VALID, and a second one that validates it.

    ADD CONSTRAINT … NOT VALID takes a strong lock, but only briefly because it skips the scan. VALIDATE
    scans under a ShareUpdateExclusive lock, which lets others read and write. Two migrations, because in one
    transaction the strong lock of the first statement would still be held during the scan.
    """
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    del copied.cmds[:]
    command = copied.cmds.add().alter_table_cmd
    _set_field(command, "subtype", "AT_AddConstraint")
    tree = getattr(command, "def").constraint
    tree.CopyFrom(constraint.tree)
    tree.conname, tree.skip_validation, tree.initially_valid = name, True, False
    # A column constraint (`ADD COLUMN … REFERENCES`) does not name its column; a table constraint must.
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
    """Return two migrations that make columns NOT NULL without a scan under an AccessExclusive lock.

    Since version 12 PostgreSQL skips the scan of SET NOT NULL if a valid CHECK proves that the column holds
    no NULL. The CHECK is added NOT VALID in a migration by itself, so that its AccessExclusive lock is
    released before VALIDATE scans the table.
    """
    names = [(column, quote_ident(derive_name(table.name, column, "filled"))) for column in columns]
    add = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({quote_ident(text)} IS NOT NULL) NOT VALID" for text, name in names
    )
    validate = ", ".join(f"VALIDATE CONSTRAINT {name}" for _, name in names)
    required = ", ".join(f"ALTER COLUMN {quote_ident(column)} SET NOT NULL" for column in columns)
    return (
        write_part(f"ALTER TABLE {table} {add};"),
        # One transaction is enough here: VALIDATE scans before SET NOT NULL takes its strong lock.
        write_part(
            f"ALTER TABLE {table} {validate};",
            f"ALTER TABLE {table} {required};",
            f"ALTER TABLE {table} {', '.join(f'DROP CONSTRAINT {name}' for _, name in names)};",
        ),
    )


def write_backfill(table: QualifiedName, column: str, value: str = "DEFAULT") -> RecipePart:
    """Return a migration that fills the NULLs of a column in batches, each committed by itself.

    It runs outside a transaction because PostgreSQL refuses COMMIT in a DO block inside one. UPDATE has no
    LIMIT, so a subquery chooses the rows of a batch by their ctid. After a failure the migration can run
    again: it continues with the rows that are still NULL.
    """
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
