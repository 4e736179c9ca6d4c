"""Write the safer SQL to paste: one or more migrations, with the names of the migration that was read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from confiture.postgres.session import quote_literal
from confiture.rules.parse_tree import AlterCommand, QualifiedName
from confiture.sql.parser import deparse_statement
from confiture.sql.quote import quote_ident

BATCH_ROWS = 10_000
"""Rows that one batch of a backfill updates, and so locks until its COMMIT."""

NOTHING_TO_UNDO = "-- nothing to undo: "
"""With this begins the down part of a migration that needs none."""

NO_RECIPE = "; no recipe, because "
"""Joins a message to the reason why it has no recipe."""

NO_TRANSACTION = "-- confiture: no-transaction"
"""The directive at the top of a migration that runs outside a transaction."""

_LABELS = (
    ("DROP FUNCTION", "contract"),
    ("REINDEX", "rebuild_index"),
    ("DROP INDEX", "drop_index"),
    ("INDEX CONCURRENTLY", "build_index"),
    ("DETACH PARTITION", "detach"),
    ("ATTACH PARTITION", "attach"),
    ("DO $backfill$", "backfill"),
    ("SET NOT NULL", "set_not_null"),
    ("VALIDATE CONSTRAINT", "validate"),
    ("USING INDEX", "add_constraint"),
    ("NOT VALID", "add_constraint"),
)
_DIRECTIVE = re.compile(r"[ \t]*--[ \t]*confiture[ \t]*:", re.IGNORECASE)


@frozen
class RecipePart:
    """One migration of a recipe.

    Attributes:
        lines: The statements and comments.
        outside: True if the migration runs outside a transaction.
        directives: Comments for the top of the file besides ``no-transaction``.
        down: What undoes it, as lines for a down part; ``None`` if that is not possible, or not known.
    """

    lines: tuple[str, ...]
    outside: bool = False
    directives: tuple[str, ...] = ()
    down: tuple[str, ...] | None = None

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


def write_part(*lines: str, down: tuple[str, ...] | None = None) -> RecipePart:
    """Return a migration that runs in one transaction."""
    return RecipePart(lines, down=down)


def write_non_transactional(*lines: str, down: tuple[str, ...] | None = None) -> RecipePart:
    """Return a migration whose statements are committed one by one."""
    return RecipePart(lines, outside=True, down=down)


def write_recipe(*parts: RecipePart, replaces: tuple[int, ...] = ()) -> Recipe:
    """Return the migrations as a recipe."""
    return Recipe(parts, replaces)


def copy_tree(tree: Any) -> Any:
    """Return a copy of a parse tree: the rules after this one still read the original."""
    copied = type(tree)()
    copied.CopyFrom(tree)
    return copied


def set_enum(message: Any, name: str, value: str) -> None:
    """Set an enum field of a parse tree to the value that PostgreSQL's source calls so."""
    setattr(message, name, message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_name[value].number)


def render_concurrently(stmt: Any, name: str) -> str:
    """Return a CREATE INDEX as CREATE INDEX CONCURRENTLY."""
    copied = copy_tree(stmt)
    # The name is written out: if the build fails, the invalid index can be found and dropped by it.
    copied.concurrent, copied.idxname = True, name
    return f"{render_created(copied)};"


def render_created(stmt: Any) -> str:
    """Return a CREATE INDEX as SQL, without USING btree, which is the default."""
    return deparse_statement("index_stmt", stmt).replace(" USING btree (", " (", 1)


def render_alter(stmt: Any, commands: Iterable[AlterCommand]) -> str:
    """Return the ALTER TABLE with only these commands."""
    copied = copy_tree(stmt)
    del copied.cmds[:]
    for command in commands:
        copied.cmds.add().alter_table_cmd.CopyFrom(command.tree)
    return f"{deparse_statement('alter_table_stmt', copied)};"


_SPELLED_ROWS = "FM999,999,999,999,990"


def declare_progress(table: QualifiedName) -> tuple[str, ...]:
    """Return the variables by which a loop says how far it is. No column is likely to have their names."""
    return (
        "DECLARE",
        "  backfill_batch bigint;",
        "  backfill_rows bigint := 0;",
        "  backfill_total text := coalesce(",
        f"    (SELECT ' of about ' || to_char(reltuples::bigint, '{_SPELLED_ROWS}') FROM pg_class",
        f"      WHERE oid = {quote_literal(str(table))}::regclass AND reltuples >= 0), '');",
    )


def commit_batch(table: QualifiedName) -> tuple[str, ...]:
    """Return the end of a loop's turn: commit, and say how many rows are committed by now."""
    words = quote_literal(f"{str(table).replace('%', '%%')}: % rows%")
    return (
        "    COMMIT;",
        "    backfill_rows := backfill_rows + backfill_batch;",
        f"    RAISE NOTICE {words}, to_char(backfill_rows, '{_SPELLED_ROWS}'), backfill_total;",
    )


def write_backfill(
    table: QualifiedName,
    column: str,
    value: str = "DEFAULT",
    condition: str | None = None,
    *,
    may_be_null: bool = False,
) -> RecipePart:
    """Return a migration that fills the NULLs of a column in batches, each committed by itself.

    After each batch it raises a NOTICE with the rows so far, which a terminal shows while it runs.
    It runs outside a transaction because PostgreSQL refuses COMMIT in a DO block inside one. UPDATE has no
    LIMIT, so a subquery chooses the rows of a batch by their ctid. After a failure the migration can run
    again: it continues with the rows that are still NULL. ``condition`` is which rows to fill, where some
    stay NULL: the loop would find them for ever. With ``may_be_null`` it fails if it fills none of a batch.
    """
    name = quote_ident(column)
    unfilled = condition or f"{name} IS NULL"
    rows = f"ctid = ANY (ARRAY(\n      SELECT ctid FROM {table} WHERE {unfilled} LIMIT {BATCH_ROWS}))"
    update = f"UPDATE {table} SET {name} = {value} WHERE {rows}"
    if not may_be_null:
        return write_non_transactional(
            "DO $backfill$",
            *declare_progress(table),
            "BEGIN",
            "  LOOP",
            *f"    {update};".split("\n"),
            "    GET DIAGNOSTICS backfill_batch = ROW_COUNT;",
            "    EXIT WHEN backfill_batch = 0;",
            *commit_batch(table),
            "  END LOOP;",
            "END $backfill$;",
        )
    return write_non_transactional(
        "DO $backfill$",
        *declare_progress(table),
        "  backfill_filled bigint;",
        "BEGIN",
        "  LOOP",
        *f"    WITH batch AS ({update} RETURNING {name})".split("\n"),
        f"      SELECT count(*), count({name}) INTO backfill_batch, backfill_filled FROM batch;",
        "    EXIT WHEN backfill_batch = 0;",
        "    IF backfill_filled = 0 THEN",
        "      RAISE EXCEPTION 'the default is NULL for these rows: they would be found for ever';",
        "    END IF;",
        *commit_batch(table),
        "  END LOOP;",
        "END $backfill$;",
    )
