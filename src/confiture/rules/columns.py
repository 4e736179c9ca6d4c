"""Rules about adding columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.rules.column_values import BUILT_IN, NOTHING, NUMBERS, SERIALS, VOLATILE, list_called
from confiture.rules.domains import find_domain
from confiture.rules.measurements import was_rewritten, was_worked_on
from confiture.rules.parse_tree import AlterCommand, list_commands, list_constraints, read_name, render_type
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import Recipe, copy_tree, render_alter, set_enum, write_part, write_recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.rules.safe_alter import write_alter
from confiture.sql.parser import parse_expression, read_enum_name
from confiture.sql.quote import quote_ident

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"


def list_new_columns(statement: ParsedStatement) -> Iterator[tuple[AlterCommand, Any, dict[str, Any]]]:
    """Yield the command, column and constraints by kind of each column added to an existing table."""
    # The rows of a foreign table are elsewhere: nothing is rewritten or checked here.
    foreign = read_enum_name(statement.stmt, "objtype") == "OBJECT_FOREIGN_TABLE"
    if foreign or statement.is_new(read_name(statement.stmt.relation)):
        return
    for command in list_commands(statement.stmt):
        if command.sort == "AT_AddColumn":
            column = command.definition.column_def
            yield (
                command,
                column,
                {constraint.sort: constraint.tree for constraint in list_constraints(column)},
            )


def _check_volatile(statement: ParsedStatement) -> Iterator[Hit]:
    for _, _, constraints in list_new_columns(statement):
        default = constraints.get("CONSTR_DEFAULT")
        called = list_called(default.raw_expr) if default is not None else []
        if called:
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"rewrites {table} while blocking reads and writes: "
                f"{called[0]}() gives every row its own value",
                str(table),
                write_alter(statement),
                sure=called[0] in VOLATILE,
            )


def _check_serial(statement: ParsedStatement) -> Iterator[Hit]:
    for _, column, constraints in list_new_columns(statement):
        if render_type(column.type_name) in SERIALS or "CONSTR_IDENTITY" in constraints:
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"rewrites {table} while blocking reads and writes: every row gets a number",
                str(table),
                write_alter(statement),
            )


def _check_stored(statement: ParsedStatement) -> Iterator[Hit]:
    for _, _, constraints in list_new_columns(statement):
        generated = constraints.get("CONSTR_GENERATED")
        if generated is not None and generated.generated_kind != "v":
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"rewrites {table} while blocking reads and writes: every row stores a value",
                str(table),
                write_alter(statement),
            )


def _check_domain(statement: ParsedStatement) -> Iterator[Hit]:
    for _, column, constraints in list_new_columns(statement):
        type_name = render_type(column.type_name)
        if type_name in BUILT_IN or column.type_name.array_bounds or "CONSTR_GENERATED" in constraints:
            continue
        table = read_name(statement.stmt.relation)
        yield Hit(
            f"rewrites {table} while blocking reads and writes: "
            f"every row is checked by the domain {type_name}",
            str(table),
            write_alter(statement) if find_domain(statement, column) else None,
        )


def _has_checked_domain(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the plan or the catalog knows a CHECK of a new column's domain."""
    domains = (find_domain(statement, column) for _, column, _ in list_new_columns(statement))
    return any(domain is not None and domain.checks for domain in domains)


def _check_required_without_value(statement: ParsedStatement) -> Iterator[Hit]:
    for command, column, constraints in list_new_columns(statement):
        filled = {"CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"} & constraints.keys()
        required = {"CONSTR_NOTNULL", "CONSTR_PRIMARY"} & constraints.keys()
        if filled or not required or render_type(column.type_name) in SERIALS:
            continue
        table, name = read_name(statement.stmt.relation), quote_ident(column.colname)
        yield Hit(
            f"fails with error 23502 if {table} has rows: {name} is NOT NULL and has no default",
            str(table),
            _write_with_value(statement, command, _render_value(column)),
        )


# One value for all rows is no way out where their values must differ, exist elsewhere or pass a check.
_PARTICULAR = ("CONSTR_PRIMARY", "CONSTR_UNIQUE", "CONSTR_FOREIGN", "CONSTR_CHECK")


def _write_with_value(statement: ParsedStatement, command: AlterCommand, value: str | None) -> Recipe | None:
    """Return the statement with a default for the existing rows, which new rows do not get.

    A constant default needs no rewrite since PostgreSQL 11; the rows keep it after DROP DEFAULT.
    """
    column = command.definition.column_def
    if value is None or any(constraint.sort in _PARTICULAR for constraint in list_constraints(column)):
        return None
    changed = copy_tree(command.tree)
    default = getattr(changed, "def").column_def.constraints.add().constraint
    set_enum(default, "contype", "CONSTR_DEFAULT")
    default.raw_expr.CopyFrom(parse_expression(value))
    commands = [
        AlterCommand(command.sort, changed) if inner.tree == command.tree else inner
        for inner in list_commands(statement.stmt)
    ]
    table, name = read_name(statement.stmt.relation), quote_ident(column.colname)
    only = "" if statement.stmt.relation.inh else "ONLY "
    return write_recipe(
        write_part(
            f"-- replace {value} with the value for existing rows",
            render_alter(statement.stmt, commands),
            f"ALTER TABLE {only}{table} ALTER COLUMN {name} DROP DEFAULT;",
        )
    )


def _render_value(column: Any) -> str | None:
    """Return a valid value of a built-in type; ``None`` for others, whose values are not known."""
    name = render_type(column.type_name)
    if column.type_name.array_bounds:
        return "'{}'"
    return "0" if name in NUMBERS else NOTHING.get(name)


RULES = (
    Rule(
        id="add-column-volatile-default",
        severity="error",
        basis="either",
        summary="ADD COLUMN with a volatile default, which differs from row to row",
        effect="rewrites the table under an AccessExclusive lock; a stable default, now(), needs no rewrite",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_volatile,
        confirmed_by=was_worked_on,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AddColumn",),
        example=Example(_ORDERS, "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();"),
    ),
    Rule(
        id="add-column-serial-identity",
        severity="error",
        basis="either",
        summary="ADD COLUMN serial, or GENERATED … AS IDENTITY",
        effect="rewrites the table under an AccessExclusive lock to number its rows",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_serial,
        confirmed_by=was_worked_on,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AddColumn",),
        example=Example(_ORDERS, "ALTER TABLE orders ADD COLUMN seqno bigserial;"),
    ),
    Rule(
        id="add-column-generated-stored",
        severity="error",
        basis="either",
        summary="ADD COLUMN … GENERATED ALWAYS AS (…) STORED",
        effect="rewrites the table under an AccessExclusive lock to store the values",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_stored,
        confirmed_by=was_worked_on,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AddColumn",),
        example=Example(
            _ORDERS,
            "ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (qty * 2) STORED;",
            differs="a trigger maintains the column, which is not a generated column",
        ),
    ),
    Rule(
        id="add-column-constrained-domain",
        severity="error",
        basis="measured",
        summary="ADD COLUMN of a domain with a CHECK",
        effect="rewrites the table under an AccessExclusive lock, although the column is empty",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_domain,
        confirmed_by=was_rewritten,
        likely_by_text=_has_checked_domain,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AddColumn",),
        example=Example(
            f"{_ORDERS} CREATE DOMAIN tag AS text CHECK (VALUE <> '');",
            "ALTER TABLE orders ADD COLUMN label tag;",
            differs="the CHECK belongs to the table, and the column has the domain's base type",
        ),
    ),
    Rule(
        id="add-column-not-null-no-default",
        severity="error",
        basis="static",
        summary="ADD COLUMN … NOT NULL without a default",
        effect="refuses it with error 23502 if the table has a row",
        risk="the migration passes on an empty database and fails in production",
        check=_check_required_without_value,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AddColumn",),
        example=Example(_ORDERS, "ALTER TABLE orders ADD COLUMN code text NOT NULL;"),
    ),
)
