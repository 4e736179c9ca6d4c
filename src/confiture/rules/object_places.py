"""Find where in the migrations an object of a schema, or a part of one, was created."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from attrs import frozen

from confiture.rules.parse_tree import (
    ParsedConstraint,
    QualifiedName,
    derive_name,
    find_renamed,
    list_added_columns,
    list_added_constraints,
    list_table_constraints,
    name_constraint,
    read_name,
    read_name_list,
)
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.sql.quote import quote_name

_Key = tuple[str, str]
_Named = tuple[QualifiedName, str, int]


@frozen
class ObjectPlace:
    """Where a statement about an object stands.

    Attributes:
        version: Of the migration.
        file: The path to show.
        line: 1-based.
    """

    version: str = ""
    file: str = ""
    line: int | None = None


@frozen
class ObjectPlaces:
    """The places of all objects that the migrations create.

    Attributes:
        places: By the object as reports spell it, without a function's arguments, and by its part.
    """

    places: Mapping[_Key, ObjectPlace]

    def find(self, relation: str, part: str | None) -> ObjectPlace:
        """Return the place of a part, else that of the object, else an empty one."""
        name = relation.partition("(")[0]
        return self.places.get((name, part or "")) or self.places.get((name, "")) or ObjectPlace()


def find_places(migrations: Iterable[ParsedMigration]) -> ObjectPlaces:
    """Return where each object and each part of one was created last."""
    places: dict[_Key, ObjectPlace] = {}
    for migration in migrations:
        for statement in migration.statements:
            for inner in (statement, *statement.inner_statements):
                for name, part, location in _list_named(inner.kind, inner.node, inner.stmt):
                    place = ObjectPlace(migration.version, migration.file, _find_line(inner, location))
                    places[quote_name(name.schema or "public", name.name), part] = place
    return ObjectPlaces(places)


def _find_line(statement: ParsedStatement, location_bytes: int) -> int:
    """Return the line of a part of the statement; the statement's own if the part's is not known."""
    text = statement.migration.text
    if statement.inside or not location_bytes or not text:
        return statement.line
    line = bisect_left(_list_line_ends(text), location_bytes) + 1
    last = statement.line + statement.sql.count("\n")
    return line if statement.line <= line <= last else statement.line


# One text at a time: its parts follow each other.
@lru_cache(maxsize=1)
def _list_line_ends(text: str) -> tuple[int, ...]:
    return tuple(found.start() for found in re.finditer(b"\n", text.encode()))


def _list_named(kind: str, node: Any, stmt: Any) -> Iterator[_Named]:
    """Yield the objects and parts that a statement creates, each with where it stands in the text."""
    if kind == "create_stmt":
        table = read_name(stmt.relation)
        yield table, "", 0
        columns = [element.column_def for element in stmt.table_elts if element.HasField("column_def")]
        yield from _list_parts(table, columns, list_table_constraints(stmt))
    elif kind == "alter_table_stmt":
        yield from _list_parts(
            read_name(stmt.relation), list_added_columns(stmt), list_added_constraints(stmt)
        )
    elif kind == "index_stmt":
        yield read_name(stmt.relation), stmt.idxname, 0
    elif kind in ("view_stmt", "create_table_as_stmt"):
        yield read_name(stmt.view if kind == "view_stmt" else stmt.into.rel), "", 0
    elif kind == "create_function_stmt":
        yield read_name_list(stmt.funcname), "", 0
    yield from ((new, "", 0) for _, new in find_renamed(kind, node))


def _list_parts(
    table: QualifiedName, columns: Iterable[Any], constraints: Iterable[ParsedConstraint]
) -> Iterator[_Named]:
    for column in columns:
        yield table, column.colname, column.location
    for constraint in constraints:
        words, label = name_constraint(constraint)
        derived = derive_name(table.name, words, label) if label else ""
        yield table, constraint.tree.conname or derived or constraint.sort, constraint.tree.location
