"""Rules about changing the type of a column: rewrites, index rebuilds and scans.

All three are decided by a rehearsal. The text has the new type but not the old one, and even with both the
answer may depend on the session: timestamp to timestamptz rewrites the table unless TimeZone is UTC.
"""

from __future__ import annotations

from collections.abc import Iterator

from confiture.rules.column_copy import explain_obstacles
from confiture.rules.column_swap import write_swap
from confiture.rules.domains import explain_domain
from confiture.rules.likelihood import likely_changes_storage
from confiture.rules.measurements import was_only_rebuilt, was_only_scanned, was_rewritten
from confiture.rules.parse_tree import AlterCommand, QualifiedName, list_commands, read_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import NO_RECIPE, Recipe, RecipePart, write_part, write_recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.rules.safe_alter import write_commands
from confiture.rules.schema_model import CheckConstraint
from confiture.sql.parser import find_nodes
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
            f"the new type of {quote_ident(command.tree.name)} is stored differently"
            f"{_explain_obstacle(statement, table, command)}",
            str(table),
            _write_swaps(statement, table),
        )


def _check_rebuilt(statement: ParsedStatement) -> Iterator[Hit]:
    for table, command in _list_changed(statement):
        yield Hit(
            f"rebuilds the indexes on {quote_ident(command.tree.name)} "
            f"while blocking reads and writes of {table}{_explain_obstacle(statement, table, command)}",
            str(table),
            _write_swaps(statement, table),
        )


def _explain_obstacle(statement: ParsedStatement, table: QualifiedName, command: AlterCommand) -> str:
    reason = _find_obstacle(statement, table, command)
    return f"{NO_RECIPE}{reason}" if reason else ""


def _find_obstacle(statement: ParsedStatement, table: QualifiedName, command: AlterCommand) -> str | None:
    schema, definition = statement.migration.schema, command.definition.column_def
    facts = schema.find_column(table, command.tree.name)
    return explain_obstacles(facts) or explain_domain(schema, definition.type_name)


def _write_swaps(statement: ParsedStatement, table: QualifiedName) -> Recipe | None:
    """Return the statement with a swap for each change of type; ``None`` if one has no safe form."""
    changed = [command for _, command in _list_changed(statement)]
    names = [command.tree.name for command in changed]
    others = [command for command in list_commands(statement.stmt) if command.sort != "AT_AlterColumnType"]
    if any(_find_obstacle(statement, table, command) for command in changed) or _mention(others, names):
        return None
    rest = write_commands(statement, others) if others else Recipe(())
    if rest is None:
        return None
    swaps = (part for command in changed for part in write_swap(statement, table, command))
    return write_recipe(*rest.parts, *swaps)


def _mention(commands: list[AlterCommand], columns: list[str]) -> bool:
    """Return True if a command is about one of these columns, or may be."""
    trees = [command.tree for command in commands]
    named = {tree.name for tree in trees}
    for tree in trees:
        named.update(ref.fields[-1].string.sval for ref in find_nodes(tree, "ColumnRef"))
        named.update(node.sval for node in find_nodes(tree, "String"))
    return not named.isdisjoint(columns)


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
        f"ADD CONSTRAINT {name} CHECK ({constraint.expression}){constraint.suffix} NOT VALID"
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
        likely_by_text=likely_changes_storage,
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
            differs="the new column is the last column",
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
