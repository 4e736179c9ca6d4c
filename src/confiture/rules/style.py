"""Rules of taste, off until somebody wants them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from confiture.rules.parse_tree import added_columns, constraints_of, name_of, type_words
from confiture.rules.parsed_migration import Piece
from confiture.rules.rule import Basis, Example, Hit, Rule
from confiture.sql.parser import find_nodes, read_enum_name
from confiture.sql.quote import quote_ident

_LONGEST_BYTES = 63
_STRING = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_LONG_NAME = re.compile(r'"[^"]{32,}"|\b[^\W\d]\w{31,}')
_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_TABLES = ("create_stmt", "alter_table_stmt")


def _columns(piece: Piece) -> Iterator[Any]:
    if piece.kind == "create_stmt":
        yield from (elt.column_def for elt in piece.stmt.table_elts if elt.HasField("column_def"))
    else:
        yield from added_columns(piece.stmt)


def _of_type(names: str, instead: str) -> Callable[[Piece], Iterator[Hit]]:
    wanted = frozenset(names.split())

    def hits(piece: Piece) -> Iterator[Hit]:
        for column in _columns(piece):
            if type_words(column.type_name) in wanted:
                yield Hit(
                    f"{quote_ident(column.colname)} is {type_words(column.type_name)}: {instead}",
                    str(name_of(piece.stmt.relation)),
                )

    return hits


def _serial(piece: Piece) -> Iterator[Hit]:
    return _of_type("serial serial4 serial8 bigserial smallserial serial2", "GENERATED … AS IDENTITY")(piece)


def _text(piece: Piece) -> Iterator[Hit]:
    return _of_type("varchar bpchar char", "text, with a CHECK for the length")(piece)


def _lookup(_: Piece) -> Iterator[Hit]:
    yield Hit("makes an enum: no value of it can ever be dropped, those of a table can")


def _too_long(piece: Piece) -> Iterator[Hit]:
    # The parser has cut them already: only the text still has them whole.
    for found in _LONG_NAME.finditer(_STRING.sub("''", piece.sql)):
        name = found.group().strip('"')
        if len(name.encode()) > _LONGEST_BYTES:
            yield Hit(f"{name[:20]}… is longer than 63 bytes and will be cut")


def _schema(piece: Piece) -> Iterator[Hit]:
    for relation in find_nodes(piece.node, "RangeVar"):
        if hasattr(relation, "relname") and relation.relname and not relation.schemaname:
            yield Hit(f"{name_of(relation)} is named without its schema", str(name_of(relation)))
            return


def _robust(piece: Piece) -> Iterator[Hit]:
    stmt = piece.stmt
    if piece.reading.transactional:
        return
    if piece.kind == "drop_stmt" and not stmt.missing_ok:
        yield Hit("DROP without IF EXISTS cannot be repeated after a failure")
    elif piece.kind in ("create_stmt", "index_stmt") and not stmt.if_not_exists:
        yield Hit("CREATE without IF NOT EXISTS cannot be repeated after a failure")


def _fk_index(piece: Piece) -> Iterator[Hit]:
    trees = [
        node
        for node in find_nodes(piece.node, "Constraint")
        if read_enum_name(node, "contype") == "CONSTR_FOREIGN"
    ]
    own = name_of(piece.stmt.relation)
    indexed = {columns[:1] for table, columns in piece.reading.known.indexes.values() if table == own}
    for tree in trees:
        columns = _columns_of(piece, tree)
        if columns and columns[:1] not in indexed:
            table = name_of(piece.stmt.relation)
            yield Hit(
                f"no index on {quote_ident(columns[0])}: deleting what it refers to reads all of {table}",
                str(table),
            )


def _columns_of(piece: Piece, tree: Any) -> tuple[str, ...]:
    if tree.fk_attrs:
        return tuple(attr.string.sval for attr in tree.fk_attrs)
    return next(
        (
            (column.colname,)
            for column in _columns(piece)
            for each in constraints_of(column)
            if each.tree == tree
        ),
        (),
    )


def _taste(
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
        effect=more.pop("effect", "does as it is told"),
        risk=risk,
        check=check,
        kinds=kinds,
        example=Example(_ORDERS, dangerous, transactional=more.pop("transactional", True)),
        **more,
    )


RULES = (
    _taste(
        "prefer-jsonb",
        "json, where jsonb has equality and indexes",
        "DISTINCT and GROUP BY fail on it",
        "ALTER TABLE orders ADD COLUMN doc json;",
        _of_type("json", "jsonb"),
        remedy="jsonb",
    ),
    _taste(
        "prefer-bigint",
        "int, which ends at two thousand million",
        "the day it is full is a bad day",
        "CREATE TABLE item (id int PRIMARY KEY);",
        _of_type("int2 int4 serial serial4 serial2 smallserial", "bigint"),
        remedy="bigint",
    ),
    _taste(
        "prefer-identity",
        "serial, whose sequence has rights of its own",
        "GRANT on the table is not enough",
        "CREATE TABLE item (id bigserial PRIMARY KEY);",
        _serial,
        remedy="GENERATED BY DEFAULT AS IDENTITY",
    ),
    _taste(
        "prefer-text",
        "varchar(n) and char(n)",
        "another length is another migration",
        "ALTER TABLE orders ADD COLUMN code varchar(20);",
        _text,
        remedy="text, with a CHECK for the length",
    ),
    _taste(
        "prefer-timestamptz",
        "timestamp without time zone",
        "the same moment reads differently in two sessions",
        "ALTER TABLE orders ADD COLUMN at timestamp;",
        _of_type("timestamp", "timestamptz"),
        remedy="timestamptz",
    ),
    _taste(
        "prefer-lookup-table",
        "CREATE TYPE … AS ENUM",
        "a value that is no longer used stays for ever",
        "CREATE TYPE mood AS ENUM ('lo', 'hi');",
        _lookup,
        ("create_enum_stmt",),
        remedy="a table of the values",
    ),
    _taste(
        "fk-missing-index",
        "a foreign key without an index on its column",
        "a DELETE in the other table reads the whole of this one, for every row",
        "CREATE TABLE item (id bigint PRIMARY KEY, part_of bigint REFERENCES orders (id));",
        _fk_index,
        basis="measured",
        remedy="CREATE INDEX CONCURRENTLY on the column",
    ),
    _taste(
        "identifier-too-long",
        "a name of more than 63 bytes",
        "two long names may become the same",
        f"ALTER TABLE orders ADD COLUMN {'long_' * 15} text;",
        _too_long,
        (),
        remedy="a shorter name",
        effect="cuts the name, and says so in a NOTICE only",
    ),
    _taste(
        "require-table-schema",
        "a table named without its schema",
        "another search_path finds another table",
        "ALTER TABLE orders ADD COLUMN code text;",
        _schema,
        ("create_stmt", "alter_table_stmt", "index_stmt", "rename_stmt"),
        remedy="public.orders",
    ),
    _taste(
        "prefer-robust-statements",
        "no IF EXISTS where each statement is committed by itself",
        "after a failure the migration cannot simply be run again",
        "CREATE INDEX CONCURRENTLY orders_qty_idx ON orders (qty);",
        _robust,
        ("drop_stmt", "create_stmt", "index_stmt"),
        remedy="IF EXISTS, IF NOT EXISTS",
        transactional=False,
    ),
)
