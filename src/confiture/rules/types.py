"""Rules about changing the type of a column: rewrites, index rebuilds and scans.

All three are decided by a rehearsal. The text has the new type but not the old one, and even with both the
answer may depend on the session: timestamp to timestamptz rewrites the table unless TimeZone is UTC.
"""

from __future__ import annotations

from collections.abc import Iterator

from confiture.rules.measurements import was_only_rebuilt, was_only_scanned, was_rewritten
from confiture.rules.parse_tree import AlterCommand, QualifiedName, derive_name, list_commands, read_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import RecipePart, write_backfill, write_part, write_recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.rules.schema_model import CheckConstraint
from confiture.sql.parser import deparse_type
from confiture.sql.quote import quote_ident

_LEDGER = "CREATE TABLE ledger (id bigint PRIMARY KEY, memo text, qty int, code varchar(20));"


def _list_changed(statement: ParsedStatement) -> Iterator[tuple[QualifiedName, AlterCommand]]:
    table = read_name(statement.stmt.relation)
    if not statement.is_new(table):
        for command in list_commands(statement.stmt):
            if command.sort == "AT_AlterColumnType":
                yield table, command


def _check_rewritten(statement: ParsedStatement) -> Iterator[Hit]:
    for table, command in _list_changed(statement):
        yield Hit(
            f"rewrites {table} while blocking reads and writes: "
            f"the new type of {quote_ident(command.tree.name)} is stored differently",
            str(table),
            write_recipe(*_write_swap(table, command)),
        )


def _check_rebuilt(statement: ParsedStatement) -> Iterator[Hit]:
    for table, command in _list_changed(statement):
        yield Hit(
            f"rebuilds the indexes on {quote_ident(command.tree.name)} "
            f"while blocking reads and writes of {table}",
            str(table),
            write_recipe(*_write_swap(table, command)),
        )


def _write_swap(table: QualifiedName, command: AlterCommand) -> tuple[RecipePart, ...]:
    """Return migrations that add a column of the new type, fill it, and swap it for the old column.

    The trigger comes before the backfill, so that rows written during the backfill are converted too. The
    swap only drops and renames columns, which takes an AccessExclusive lock but only briefly.
    """
    column = command.tree.name
    old, new = quote_ident(column), quote_ident(derive_name(column, "", "new"))
    type_name = deparse_type(command.definition.column_def.type_name)
    collation = command.definition.column_def.coll_clause
    if collation.collname:
        type_name += " COLLATE " + ".".join(quote_ident(item.string.sval) for item in collation.collname)
    function = table.name_sibling(derive_name(table.name, column, "sync"))
    trigger = quote_ident(function.name)
    return (
        write_part(
            f"ALTER TABLE {table} ADD COLUMN {new} {type_name};",
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$",
            "BEGIN",
            f"  NEW.{new} := NEW.{old}::{type_name};",
            "  RETURN NEW;",
            "END $$;",
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
            f"  EXECUTE FUNCTION {function}();",
        ),
        _write_fill(table, column, old, new, type_name),
        write_part(
            f"-- first recreate the indexes, constraints, defaults and views of {old} on {new}, then:",
            f"DROP TRIGGER {trigger} ON {table};",
            f"DROP FUNCTION {function}();",
            f"ALTER TABLE {table} DROP COLUMN {old};",
            f"ALTER TABLE {table} RENAME COLUMN {new} TO {old};",
        ),
    )


def _write_fill(table: QualifiedName, column: str, old: str, new: str, type_name: str) -> RecipePart:
    backfill = write_backfill(table, derive_name(column, "", "new"), f"{old}::{type_name}")
    # A row whose old value is NULL stays NULL; without this condition the loop would find it for ever.
    lines = (
        line.replace(f"WHERE {new} IS NULL", f"WHERE {new} IS NULL AND {old} IS NOT NULL")
        for line in backfill.lines
    )
    return RecipePart(tuple(lines), outside=True)


def _check_rechecked(statement: ParsedStatement) -> Iterator[Hit]:
    for table, command in _list_changed(statement):
        column = command.tree.name
        known = [check for check in statement.migration.schema.list_checks(table) if column in check.columns]
        yield Hit(
            f"scans all of {table} while blocking reads and writes: "
            f"a CHECK on {quote_ident(column)} is checked again for every row",
            str(table),
            write_recipe(*_write_recheck(table, known, statement.sql.rstrip().rstrip(";")))
            if known
            else None,
        )


def _write_recheck(
    table: QualifiedName, checks: list[CheckConstraint], change: str
) -> tuple[RecipePart, RecipePart]:
    """Return migrations that drop the CHECKs, change the type, add them NOT VALID and validate them later.

    Dropping and adding stay in one transaction, so that no row can violate the CHECKs in between.
    """
    names = [quote_ident(check.name) for check in checks]
    drop = ", ".join(f"DROP CONSTRAINT {name}" for name in names)
    add = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({constraint.expression}) NOT VALID"
        for name, constraint in zip(names, checks, strict=True)
    )
    validate = ", ".join(f"VALIDATE CONSTRAINT {name}" for name in names)
    return (
        write_part(f"ALTER TABLE {table} {drop};", f"{change};", f"ALTER TABLE {table} {add};"),
        write_part(f"ALTER TABLE {table} {validate};"),
    )


RULES = (
    Rule(
        id="change-type-rewrite",
        severity="error",
        basis="measured",
        summary="ALTER COLUMN … TYPE that rewrites the table",
        effect="rewrites the table under an AccessExclusive lock if the new type is stored differently",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_rewritten,
        confirmed_by=was_rewritten,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType",),
        example=Example(
            _LEDGER,
            "ALTER TABLE ledger ALTER COLUMN qty TYPE bigint;",
            differs="the new column is the last column",
        ),
    ),
    Rule(
        id="change-type-index-rebuild",
        severity="error",
        basis="measured",
        summary="ALTER COLUMN … TYPE that rebuilds an index",
        effect="rebuilds the column's indexes under an AccessExclusive lock, as another collation needs",
        risk="reads and writes of the table are blocked until the indexes are built",
        check=_check_rebuilt,
        confirmed_by=was_only_rebuilt,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType",),
        example=Example(
            f"{_LEDGER} CREATE INDEX ledger_memo_idx ON ledger (memo);",
            'ALTER TABLE ledger ALTER COLUMN memo TYPE text COLLATE "C";',
            differs="the new column is the last column, and you build its index CONCURRENTLY yourself",
        ),
    ),
    Rule(
        id="change-type-recheck",
        severity="error",
        basis="measured",
        summary="ALTER COLUMN … TYPE that checks a CHECK again",
        effect="scans the whole table under an AccessExclusive lock if a CHECK names the column",
        risk="reads and writes of the table are blocked for the whole scan",
        check=_check_rechecked,
        confirmed_by=was_only_scanned,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType",),
        example=Example(
            "CREATE TABLE ledger (id bigint PRIMARY KEY, code varchar(20) CHECK (code <> ''));",
            "ALTER TABLE ledger ALTER COLUMN code TYPE varchar(60);",
            differs="the CHECK has no cast to the old type",
        ),
    ),
)
