"""Rules of changed column types: what is rewritten, rebuilt or read again."""

from __future__ import annotations

from collections.abc import Iterator

from confiture.rules.measurements import rebuilds_only, rewrites, scans_only
from confiture.rules.parse_tree import Command, Name, commands, derived, name_of
from confiture.rules.parsed_migration import Piece
from confiture.rules.recipes import Part, backfill, part, recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.rules.schema_model import Check
from confiture.sql.parser import deparse_type
from confiture.sql.quote import quote_ident

_LEDGER = "CREATE TABLE ledger (id bigint PRIMARY KEY, memo text, qty int, code varchar(20));"


def _changed(piece: Piece) -> Iterator[tuple[Name, Command]]:
    table = name_of(piece.stmt.relation)
    if not piece.is_new(table):
        for command in commands(piece.stmt):
            if command.sort == "AT_AlterColumnType":
                yield table, command


def _rewritten(piece: Piece) -> Iterator[Hit]:
    for table, command in _changed(piece):
        yield Hit(
            f"rewrites {table} while reads and writes of it wait: "
            f"{quote_ident(command.tree.name)} changes its type",
            str(table),
            recipe(*_swapped(table, command)),
        )


def _rebuilt(piece: Piece) -> Iterator[Hit]:
    for table, command in _changed(piece):
        yield Hit(
            f"builds the indexes on {quote_ident(command.tree.name)} anew "
            f"while reads and writes of {table} wait",
            str(table),
            recipe(*_swapped(table, command)),
        )


def _swapped(table: Name, command: Command) -> tuple[Part, ...]:
    """Keep a second column beside the first, fill it, and let it take the first one's place."""
    column = command.tree.name
    old, new = quote_ident(column), quote_ident(derived(column, "", "new"))
    type_name = deparse_type(command.definition.column_def.type_name)
    collation = command.definition.column_def.coll_clause
    if collation.collname:
        type_name += " COLLATE " + ".".join(quote_ident(each.string.sval) for each in collation.collname)
    function = table.beside(derived(table.name, column, "sync"))
    trigger = quote_ident(function.name)
    return (
        part(
            f"ALTER TABLE {table} ADD COLUMN {new} {type_name};",
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$",
            "BEGIN",
            f"  NEW.{new} := NEW.{old}::{type_name};",
            "  RETURN NEW;",
            "END $$;",
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
            f"  EXECUTE FUNCTION {function}();",
        ),
        _filled(table, column, old, new, type_name),
        part(
            f"-- indexes, constraints, defaults and views of {old} first, then:",
            f"DROP TRIGGER {trigger} ON {table};",
            f"DROP FUNCTION {function}();",
            f"ALTER TABLE {table} DROP COLUMN {old};",
            f"ALTER TABLE {table} RENAME COLUMN {new} TO {old};",
        ),
    )


def _filled(table: Name, column: str, old: str, new: str, type_name: str) -> Part:
    filled = backfill(table, derived(column, "", "new"), f"{old}::{type_name}")
    lines = (
        line.replace(f"WHERE {new} IS NULL", f"WHERE {new} IS NULL AND {old} IS NOT NULL")
        for line in filled.lines
    )
    return Part(tuple(lines), outside=True)


def _rechecked(piece: Piece) -> Iterator[Hit]:
    for table, command in _changed(piece):
        column = command.tree.name
        known = [each for each in piece.reading.known.checks_of(table) if column in each.columns]
        yield Hit(
            f"reads all of {table} while reads and writes of it wait: "
            f"a CHECK of {quote_ident(column)} is tried on every row",
            str(table),
            recipe(*_recheck_parts(table, known, piece.sql.rstrip().rstrip(";"))) if known else None,
        )


def _recheck_parts(table: Name, checks: list[Check], change: str) -> tuple[Part, Part]:
    """Take the CHECKs away, change the type, put them back untried, and try them later."""
    names = [quote_ident(check.name) for check in checks]
    drop = ", ".join(f"DROP CONSTRAINT {name}" for name in names)
    add = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({each.expression}) NOT VALID"
        for name, each in zip(names, checks, strict=True)
    )
    validate = ", ".join(f"VALIDATE CONSTRAINT {name}" for name in names)
    return (
        part(f"ALTER TABLE {table} {drop};", f"{change};", f"ALTER TABLE {table} {add};"),
        part(f"ALTER TABLE {table} {validate};"),
    )


RULES = (
    Rule(
        id="change-type-rewrite",
        severity="error",
        basis="measured",
        summary="ALTER COLUMN … TYPE that rewrites the table",
        effect="rewrites the table under an AccessExclusive lock where the new type is stored in another way",
        risk="nobody reads or writes the table until it is rewritten",
        check=_rewritten,
        confirmed_by=rewrites,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType",),
        example=Example(
            _LEDGER,
            "ALTER TABLE ledger ALTER COLUMN qty TYPE bigint;",
            differs="the new column stands last",
        ),
    ),
    Rule(
        id="change-type-index-rebuild",
        severity="error",
        basis="measured",
        summary="ALTER COLUMN … TYPE that rebuilds an index",
        effect="builds the column's indexes anew under an AccessExclusive lock, as for another collation",
        risk="nobody reads or writes the table until they are built",
        check=_rebuilt,
        confirmed_by=rebuilds_only,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType",),
        example=Example(
            f"{_LEDGER} CREATE INDEX ledger_memo_idx ON ledger (memo);",
            'ALTER TABLE ledger ALTER COLUMN memo TYPE text COLLATE "C";',
            differs="the new column stands last, and its index is to be built beside the traffic",
        ),
    ),
    Rule(
        id="change-type-recheck",
        severity="error",
        basis="measured",
        summary="ALTER COLUMN … TYPE that tries a CHECK again",
        effect="reads the whole table under an AccessExclusive lock where a CHECK names the column",
        risk="nobody reads or writes the table until the last row is looked at",
        check=_rechecked,
        confirmed_by=scans_only,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType",),
        example=Example(
            "CREATE TABLE ledger (id bigint PRIMARY KEY, code varchar(20) CHECK (code <> ''));",
            "ALTER TABLE ledger ALTER COLUMN code TYPE varchar(60);",
            differs="the CHECK no longer casts the old type",
        ),
    ),
)
