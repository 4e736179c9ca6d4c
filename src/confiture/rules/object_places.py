"""Find where in the migrations an object of a schema was last created or changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from confiture.rules.parse_tree import QualifiedName, find_renamed, list_commands, read_name, read_name_list
from confiture.rules.parsed_migration import ParsedMigration
from confiture.sql.quote import quote_name

_Key = tuple[str, str]


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
    """The places of all objects that the migrations name.

    Attributes:
        places: By the object as reports spell it, without a function's arguments, and by its part.
    """

    places: Mapping[_Key, ObjectPlace]

    def find(self, relation: str, part: str | None) -> ObjectPlace:
        """Return the place of a part, else that of the object, else an empty one."""
        name = relation.partition("(")[0]
        return self.places.get((name, part or "")) or self.places.get((name, "")) or ObjectPlace()


def find_places(migrations: Iterable[ParsedMigration]) -> ObjectPlaces:
    """Return the last place of each object."""
    places: dict[_Key, ObjectPlace] = {}
    for migration in migrations:
        for statement in migration.statements:
            for inner in (statement, *statement.inner_statements):
                place = ObjectPlace(migration.version, migration.file, inner.line)
                for name, part in _list_named(inner.kind, inner.node, inner.stmt):
                    rel = quote_name(name.schema or "public", name.name)
                    places[rel, part] = place
                    # Its table was changed too.
                    places[rel, ""] = place
    return ObjectPlaces(places)


def _list_named(kind: str, node: Any, stmt: Any) -> Iterator[tuple[QualifiedName, str]]:
    """Yield the objects that a statement creates or changes, each with the part of it."""
    if kind in ("create_stmt", "view_stmt", "create_table_as_stmt"):
        yield _read_created(kind, stmt), ""
        for element in stmt.table_elts if kind == "create_stmt" else ():
            yield read_name(stmt.relation), _read_element(element)
    elif kind == "index_stmt":
        yield read_name(stmt.relation), stmt.idxname
    elif kind == "alter_table_stmt":
        for command in list_commands(stmt):
            yield read_name(stmt.relation), _read_part(command.tree)
    elif kind in ("create_trig_stmt", "create_policy_stmt"):
        yield read_name(stmt.relation if kind == "create_trig_stmt" else stmt.table), ""
    elif kind == "create_function_stmt":
        yield read_name_list(stmt.funcname), ""
    yield from ((new, "") for _, new in find_renamed(kind, node))


def _read_created(kind: str, stmt: Any) -> QualifiedName:
    if kind == "create_table_as_stmt":
        return read_name(stmt.into.rel)
    return read_name(stmt.view if kind == "view_stmt" else stmt.relation)


def _read_part(command: Any) -> str:
    """Return the column or constraint that a command of ALTER TABLE is about."""
    return str(command.name) or _read_element(getattr(command, "def"))


def _read_element(element: Any) -> str:
    """Return the name of a column or constraint; empty if it has none."""
    kind = element.WhichOneof("node")
    if kind == "column_def":
        return str(element.column_def.colname)
    return str(element.constraint.conname) if kind == "constraint" else ""
