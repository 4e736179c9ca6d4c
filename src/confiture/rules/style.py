"""Rules of style, off by default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from confiture.rules.parse_tree import list_added_columns, list_constraints, read_name, render_type
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.rule import Basis, Example, Hit, Rule
from confiture.sql.lexer import blank_comments
from confiture.sql.parser import find_nodes, read_enum_name
from confiture.sql.quote import quote_ident

_LONGEST_BYTES = 63
# Strings are removed before names are looked for: their text is data.
_STRING = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
# Candidates only: PostgreSQL limits the bytes of a name, and a character may have up to four.
_LONG_NAME = re.compile(r'"(?:[^"]|""){16,}"|\b[^\W\d][\w$]{15,}')
_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_TABLES = ("create_stmt", "alter_table_stmt")


def _list_columns(statement: ParsedStatement) -> Iterator[Any]:
    if statement.kind == "create_stmt":
        yield from (elt.column_def for elt in statement.stmt.table_elts if elt.HasField("column_def"))
    else:
        yield from list_added_columns(statement.stmt)


def _make_type_check(names: str, instead: str) -> Callable[[ParsedStatement], Iterator[Hit]]:
    wanted = frozenset(names.split())

    def check(statement: ParsedStatement) -> Iterator[Hit]:
        for column in _list_columns(statement):
            if render_type(column.type_name) in wanted:
                yield Hit(
                    f"{quote_ident(column.colname)} is {render_type(column.type_name)}: {instead}",
                    str(read_name(statement.stmt.relation)),
                )

    return check


def _check_serial(statement: ParsedStatement) -> Iterator[Hit]:
    return _make_type_check(
        "serial serial4 serial8 bigserial smallserial serial2", "GENERATED … AS IDENTITY"
    )(statement)


def _check_text(statement: ParsedStatement) -> Iterator[Hit]:
    return _make_type_check("varchar bpchar char", "text, with a CHECK for the length")(statement)


def _check_lookup(_: ParsedStatement) -> Iterator[Hit]:
    yield Hit("creates an enum: its values cannot be dropped, but the rows of a table can")


def _check_too_long(statement: ParsedStatement) -> Iterator[Hit]:
    # The parser has already truncated the names in the tree: only the text has them in full.
    for match in _LONG_NAME.finditer(_STRING.sub("''", blank_comments(statement.sql))):
        name = match.group()
        name = name[1:-1].replace('""', '"') if name.startswith('"') else name
        if len(name.encode()) > _LONGEST_BYTES:
            yield Hit(f"{name[:20]}… is longer than 63 bytes, so PostgreSQL truncates it")


def _check_schema(statement: ParsedStatement) -> Iterator[Hit]:
    for relation in find_nodes(statement.node, "RangeVar"):
        if hasattr(relation, "relname") and relation.relname and not relation.schemaname:
            yield Hit(f"{read_name(relation)} is named without its schema", str(read_name(relation)))
            return


def _check_robust(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if statement.migration.transactional:
        return
    if statement.kind == "drop_stmt" and not stmt.missing_ok:
        yield Hit("DROP without IF EXISTS fails if the migration runs again")
    elif statement.kind in ("create_stmt", "index_stmt") and not stmt.if_not_exists:
        yield Hit("CREATE without IF NOT EXISTS fails if the migration runs again")


def _check_fk_index(statement: ParsedStatement) -> Iterator[Hit]:
    trees = [
        node
        for node in find_nodes(statement.node, "Constraint")
        if read_enum_name(node, "contype") == "CONSTR_FOREIGN"
    ]
    own = read_name(statement.stmt.relation)
    # An index serves the foreign key if it begins with the key's first column.
    known = statement.migration.schema
    indexed = {
        columns[:1]
        for name, (table, columns) in known.indexes.items()
        if table == own and name not in known.partial_indexes
    }
    for tree in trees:
        columns = _list_columns_of(statement, tree)
        if columns and columns[:1] not in indexed:
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"no index on {quote_ident(columns[0])}: a DELETE of a referenced row scans all of {table}",
                str(table),
            )


def _list_columns_of(statement: ParsedStatement, tree: Any) -> tuple[str, ...]:
    if tree.fk_attrs:
        return tuple(attr.string.sval for attr in tree.fk_attrs)
    return next(
        (
            (column.colname,)
            for column in _list_columns(statement)
            for constraint in list_constraints(column)
            if constraint.tree == tree
        ),
        (),
    )


def _make_rule(
    id: str,
    summary: str,
    risk: str,
    dangerous: str,
    check: Any,
    kinds: tuple[str, ...] = _TABLES,
    **more: Any,
) -> Rule:
    basis: Basis = more.pop("basis", "static")
    return Rule(
        id=id,
        severity="off",
        basis=basis,
        summary=summary,
        effect=more.pop("effect", "accepts it"),
        risk=risk,
        check=check,
        kinds=kinds,
        example=Example(_ORDERS, dangerous, transactional=more.pop("transactional", True)),
        **more,
    )


RULES = (
    _make_rule(
        "prefer-jsonb",
        "a json column; jsonb has an equality operator and indexes",
        "DISTINCT and GROUP BY fail on the column",
        "ALTER TABLE orders ADD COLUMN doc json;",
        _make_type_check("json", "jsonb"),
        remedy="jsonb",
    ),
    _make_rule(
        "prefer-bigint",
        "an int column, whose largest value is 2147483647",
        "inserts fail once the values are used up, and changing the type rewrites the table",
        "CREATE TABLE item (id int PRIMARY KEY);",
        _make_type_check("int2 int4 serial serial4 serial2 smallserial", "bigint"),
        remedy="bigint",
    ),
    _make_rule(
        "prefer-identity",
        "a serial column, whose sequence has separate privileges",
        "GRANT INSERT on the table is not enough",
        "CREATE TABLE item (id bigserial PRIMARY KEY);",
        _check_serial,
        remedy="GENERATED BY DEFAULT AS IDENTITY",
    ),
    _make_rule(
        "prefer-text",
        "varchar(n) and char(n)",
        "every new length needs a migration",
        "ALTER TABLE orders ADD COLUMN code varchar(20);",
        _check_text,
        remedy="text, with a CHECK for the length",
    ),
    _make_rule(
        "prefer-timestamptz",
        "timestamp without time zone",
        "sessions with different time zones read the same value as different moments",
        "ALTER TABLE orders ADD COLUMN at timestamp;",
        _make_type_check("timestamp", "timestamptz"),
        remedy="timestamptz",
    ),
    _make_rule(
        "prefer-lookup-table",
        "CREATE TYPE … AS ENUM",
        "an enum value cannot be dropped, even if nothing uses it",
        "CREATE TYPE mood AS ENUM ('lo', 'hi');",
        _check_lookup,
        ("create_enum_stmt",),
        remedy="a table with the values, and a foreign key",
    ),
    _make_rule(
        "fk-missing-index",
        "a foreign key without an index on its column",
        "for every row that is deleted from the referenced table PostgreSQL scans this whole table",
        "CREATE TABLE item (id bigint PRIMARY KEY, part_of bigint REFERENCES orders (id));",
        _check_fk_index,
        basis="measured",
        remedy="CREATE INDEX CONCURRENTLY on the column",
    ),
    _make_rule(
        "identifier-too-long",
        "a name of more than 63 bytes",
        "two long names may become equal",
        f"ALTER TABLE orders ADD COLUMN {'long_' * 15} text;",
        _check_too_long,
        (),
        remedy="a shorter name",
        effect="truncates the name and reports that only as a NOTICE",
    ),
    _make_rule(
        "require-table-schema",
        "a table name without a schema",
        "a different search_path finds a different table",
        "ALTER TABLE orders ADD COLUMN code text;",
        _check_schema,
        ("create_stmt", "alter_table_stmt", "index_stmt", "rename_stmt"),
        remedy="write the schema, for example public.orders",
    ),
    _make_rule(
        "prefer-robust-statements",
        "no IF EXISTS or IF NOT EXISTS in a migration whose statements are committed one by one",
        "after a failure the migration cannot run again from the start",
        "CREATE INDEX CONCURRENTLY orders_qty_idx ON orders (qty);",
        _check_robust,
        ("drop_stmt", "create_stmt", "index_stmt"),
        remedy="IF EXISTS, IF NOT EXISTS",
        transactional=False,
    ),
)
