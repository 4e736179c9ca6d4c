"""Rules about adding columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from confiture.rules.measurements import was_rewritten, was_worked_on
from confiture.rules.parse_tree import (
    AlterCommand,
    QualifiedName,
    derive_name,
    find_functions,
    list_commands,
    list_constraints,
    read_name,
    read_name_list,
    render_type,
)
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import (
    Recipe,
    RecipePart,
    render_alter,
    write_backfill,
    write_not_null,
    write_part,
    write_recipe,
)
from confiture.rules.rule import Example, Hit, Rule
from confiture.rules.schema_model import DomainType
from confiture.sql.parser import deparse_expression, deparse_type
from confiture.sql.quote import quote_ident

# Since version 11 PostgreSQL evaluates a default that is not volatile once and stores it in the catalog. A
# volatile default gives each row its own value, so the table is rewritten. These functions are volatile;
# of a function in neither list only a rehearsal can tell.
_VOLATILE_WORDS = """
    clock_timestamp currval gen_random_bytes gen_random_uuid gen_ulid lastval nextval pg_sleep random
    random_normal setval timeofday uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4
    uuidv4 uuidv7
"""
VOLATILE = frozenset(_VOLATILE_WORDS.split())
_STABLE_WORDS = """
    abs age array_to_json cardinality char_length concat current_setting date_part date_trunc format
    greatest interval json_build_object jsonb_build_array jsonb_build_object least length lower md5
    now row_to_json statement_timestamp timezone to_char to_json to_jsonb to_timestamp
    transaction_timestamp trim txid_current upper
"""
STABLE = frozenset(_STABLE_WORDS.split())
# The parser leaves serial as it is written; PostgreSQL turns it into a type and a sequence later.
SERIALS = {
    "serial": "integer",
    "serial4": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
    "smallserial": "smallint",
    "serial2": "smallint",
}
# A valid value of each type, as a placeholder in a recipe.
_NOTHING = {
    "bool": "false",
    "date": "CURRENT_DATE",
    "timestamp": "now()",
    "timestamptz": "now()",
    "time": "'00:00'",
    "timetz": "'00:00+00'",
    "interval": "'0'",
    "json": "'{}'",
    "jsonb": "'{}'",
    "uuid": "'00000000-0000-0000-0000-000000000000'",
    "text": "''",
    "varchar": "''",
    "bpchar": "''",
    "citext": "''",
    "bytea": "''",
    "inet": "'0.0.0.0'",
}
_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8", "money", "oid")
# The text does not say if a type is a domain; these certainly are not.
_BUILT_IN = frozenset(
    (*_NOTHING, *_NUMBERS, *SERIALS, "cidr", "macaddr", "xml", "bit", "varbit", "name", "char")
)
_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"


def list_new_columns(statement: ParsedStatement) -> Iterator[tuple[AlterCommand, Any, dict[str, Any]]]:
    """Yield the command, column and constraints by kind of each column added to an existing table."""
    if statement.is_new(read_name(statement.stmt.relation)):
        return
    for command in list_commands(statement.stmt):
        if command.sort == "AT_AddColumn":
            column = command.definition.column_def
            yield (
                command,
                column,
                {constraint.sort: constraint.tree for constraint in list_constraints(column)},
            )


def strip_command(command: AlterCommand, *dropped: str) -> AlterCommand:
    """Return a copy of an ADD COLUMN without the constraints of these kinds."""
    tree = type(command.tree)()
    tree.CopyFrom(command.tree)
    column = getattr(tree, "def").column_def
    kept = [constraint.tree for constraint in list_constraints(column) if constraint.sort not in dropped]
    # Copied first: the kept constraints belong to the list that is emptied next.
    copies = [type(item).FromString(item.SerializeToString()) for item in kept]
    del column.constraints[:]
    for copy in copies:
        column.constraints.add().constraint.CopyFrom(copy)
    return AlterCommand(command.sort, tree)


def _write_required(table: QualifiedName, column: str, wanted: bool) -> tuple[RecipePart, ...]:
    return write_not_null(table, column) if wanted else ()


def _check_volatile(statement: ParsedStatement) -> Iterator[Hit]:
    for command, column, constraints in list_new_columns(statement):
        default = constraints.get("CONSTR_DEFAULT")
        if default is None:
            continue
        called = [function for function in find_functions(default.raw_expr) if function not in STABLE]
        # A function that is certainly volatile comes first: it decides whether the hit is sure.
        called.sort(key=lambda text: text not in VOLATILE)
        if called:
            table, name = read_name(statement.stmt.relation), quote_ident(column.colname)
            plain = render_alter(statement.stmt, [strip_command(command, "CONSTR_DEFAULT", "CONSTR_NOTNULL")])
            value = deparse_expression(default.raw_expr)
            yield Hit(
                f"rewrites {table} while blocking reads and writes: "
                f"{called[0]}() gives every row its own value",
                str(table),
                # SET DEFAULT by itself changes only the catalog, and before the backfill so that rows which
                # are inserted during it have a value.
                write_recipe(
                    write_part(plain, f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {value};"),
                    write_backfill(table, column.colname),
                    *_write_required(table, column.colname, "CONSTR_NOTNULL" in constraints),
                ),
                sure=called[0] in VOLATILE,
            )


def _check_serial(statement: ParsedStatement) -> Iterator[Hit]:
    for command, column, constraints in list_new_columns(statement):
        serial = SERIALS.get(render_type(column.type_name))
        if not serial and "CONSTR_IDENTITY" not in constraints:
            continue
        table = read_name(statement.stmt.relation)
        yield Hit(
            f"rewrites {table} while blocking reads and writes: every row gets a number",
            str(table),
            _render_serial_recipe(table, column, serial)
            if serial
            else _render_identity_recipe(table, command, constraints["CONSTR_IDENTITY"], statement.stmt),
        )


def _render_serial_recipe(table: QualifiedName, column: Any, type_name: str) -> Recipe:
    name = quote_ident(column.colname)
    sequence = table.name_sibling(derive_name(table.name, column.colname, "seq"))
    # The steps that `serial` stands for. OWNED BY drops the sequence together with the column.
    return write_recipe(
        write_part(
            f"ALTER TABLE {table} ADD COLUMN {name} {type_name};",
            f"CREATE SEQUENCE {sequence} AS {type_name} OWNED BY {table}.{name};",
            f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT nextval('{sequence}');",
        ),
        write_backfill(table, column.colname),
        *write_not_null(table, column.colname),
    )


def _render_identity_recipe(table: QualifiedName, command: AlterCommand, identity: Any, stmt: Any) -> Recipe:
    column = command.definition.column_def.colname
    name, kind = quote_ident(column), "ALWAYS" if identity.generated_when == "a" else "BY DEFAULT"
    # ADD GENERATED refuses a column that may be NULL or that has a default. So a temporary sequence numbers
    # the rows, and the identity goes on with its next value.
    filling = table.name_sibling(derive_name(table.name, column, "filling"))
    first, second = write_not_null(table, column)
    return write_recipe(
        write_part(
            render_alter(stmt, [strip_command(command, "CONSTR_IDENTITY", "CONSTR_NOTNULL")]),
            f"CREATE SEQUENCE {filling};",
            f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT nextval('{filling}');",
        ),
        write_backfill(table, column),
        first,
        second,
        write_part(
            f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT;",
            f"ALTER TABLE {table} ALTER COLUMN {name} ADD GENERATED {kind} AS IDENTITY;",
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), nextval('{filling}'), false);",
            f"DROP SEQUENCE {filling};",
        ),
    )


def _check_stored(statement: ParsedStatement) -> Iterator[Hit]:
    for command, column, constraints in list_new_columns(statement):
        generated = constraints.get("CONSTR_GENERATED")
        if generated is not None and generated.generated_kind != "v":
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"rewrites {table} while blocking reads and writes: every row stores a value",
                str(table),
                _render_trigger_recipe(table, column, command, generated, statement.stmt),
            )


def _render_trigger_recipe(
    table: QualifiedName, column: Any, command: AlterCommand, generated: Any, stmt: Any
) -> Recipe:
    name, value = quote_ident(column.colname), deparse_expression(generated.raw_expr)
    function = table.name_sibling(derive_name(table.name, column.colname, "kept"))
    trigger = quote_ident(function.name)
    # The trigger comes before the backfill, so that rows written during it have a value too.
    return write_recipe(
        write_part(
            f"-- without a rewrite on PostgreSQL 18: ADD COLUMN … GENERATED ALWAYS AS ({value}) VIRTUAL",
            render_alter(stmt, [strip_command(command, "CONSTR_GENERATED", "CONSTR_NOTNULL")]),
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$",
            "BEGIN",
            f"  NEW.{name} := (SELECT {value} FROM (SELECT NEW.*) AS kept);",
            "  RETURN NEW;",
            "END $$;",
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
            f"  EXECUTE FUNCTION {function}();",
        ),
        write_backfill(table, column.colname, value),
    )


def _check_domain(statement: ParsedStatement) -> Iterator[Hit]:
    for _, column, constraints in list_new_columns(statement):
        type_name = render_type(column.type_name)
        if type_name in _BUILT_IN or column.type_name.array_bounds or "CONSTR_GENERATED" in constraints:
            continue
        table = read_name(statement.stmt.relation)
        domain = statement.migration.schema.domains.get(read_name_list(column.type_name.names))
        yield Hit(
            f"rewrites {table} while blocking reads and writes: "
            f"every row is checked by the domain {type_name}",
            str(table),
            write_recipe(*_write_checked(table, column, domain)) if domain else None,
        )


def _write_checked(table: QualifiedName, column: Any, domain: DomainType) -> Iterator[RecipePart]:
    """Yield migrations that add a column of the domain's base type, with the domain's CHECKs on the table.

    A CHECK of the table can be NOT VALID and validated later; that of a domain is checked at once.
    """
    name = quote_ident(column.colname)
    checks = [re.sub(r"\bVALUE\b", name, check, flags=re.IGNORECASE) for check in domain.checks]
    names = [
        quote_ident(derive_name(table.name, column.colname, f"check{n or ''}")) for n in range(len(checks))
    ]
    yield write_part(f"ALTER TABLE {table} ADD COLUMN {name} {domain.type_name};")
    added = (f"ADD CONSTRAINT {n} CHECK ({text}) NOT VALID" for n, text in zip(names, checks, strict=True))
    yield write_part(f"ALTER TABLE {table} {', '.join(added)};")
    yield write_part(f"ALTER TABLE {table} {', '.join(f'VALIDATE CONSTRAINT {n}' for n in names)};")


def _check_required_without_value(statement: ParsedStatement) -> Iterator[Hit]:
    for command, column, constraints in list_new_columns(statement):
        filled = {"CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"} & constraints.keys()
        required = {"CONSTR_NOTNULL", "CONSTR_PRIMARY"} & constraints.keys()
        if filled or not required or render_type(column.type_name) in SERIALS:
            continue
        table, name = read_name(statement.stmt.relation), quote_ident(column.colname)
        plain = render_alter(statement.stmt, [command]).removesuffix(";")
        yield Hit(
            f"fails with error 23502 if {table} has rows: {name} is NOT NULL and has no default",
            str(table),
            # A constant default needs no rewrite since PostgreSQL 11; the rows keep it after DROP DEFAULT.
            write_recipe(
                write_part(
                    f"-- replace {_render_value(column)} with the value for existing rows",
                    f"{plain} DEFAULT {_render_value(column)};",
                    f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT;",
                )
            ),
        )


def _render_value(column: Any) -> str:
    name = render_type(column.type_name)
    if column.type_name.array_bounds:
        return "'{}'"
    return "0" if name in _NUMBERS else _NOTHING.get(name, f"''::{deparse_type(column.type_name)}")


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
