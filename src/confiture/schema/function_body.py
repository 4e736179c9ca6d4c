"""Find the relations that a function reads and writes, with the parsers of SQL and PL/pgSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from confiture.schema.schema_catalog import CatalogFunction
from confiture.sql.outward import find_written_tables
from confiture.sql.parser import find_nodes
from confiture.sql.procedural import ProceduralBody, parse_body

Name = tuple[str | None, str]
"""A schema, ``None`` if the text names none, and a name."""


@frozen
class BodyUse:
    """What a text uses.

    Attributes:
        reads: The relations that it reads.
        writes: The relations that it writes or refreshes.
        calls: The functions that it calls.
        unknown: True if a part cannot be read, such as a statement that is built at run time.
    """

    reads: frozenset[Name] = frozenset()
    writes: frozenset[Name] = frozenset()
    calls: frozenset[Name] = frozenset()
    unknown: bool = False


def read_function_use(function: CatalogFunction) -> BodyUse:
    """Return what the body of a function uses; nothing known where its language has no parser here."""
    if not function.definition:
        return BodyUse(unknown=True)
    return _read_use(parse_body(function.definition))


def _read_use(body: ProceduralBody) -> BodyUse:
    trees = [statement.node for statement in body.statements if statement.node is not None]
    return read_tree_use(
        (*trees, *body.expressions),
        calls=((call.schema, call.name) for call in body.calls),
        unknown=bool(body.unknown),
    )


def read_tree_use(trees: Iterable[Any], calls: Iterable[Name] = (), *, unknown: bool = False) -> BodyUse:
    """Return what parsed statements and expressions use."""
    reads: set[Name] = set()
    writes: set[Name] = set()
    called = set(calls)
    for tree in trees:
        targets = [*find_written_tables(tree), *_find_refreshed(tree)]
        writes |= set(map(_name_relation, targets))
        # The target of an INSERT is a node like any other relation; its place in the text tells them apart.
        places = {target.location for target in targets}
        with_names = {cte.ctename for cte in find_nodes(tree, "CommonTableExpr")}
        reads |= {
            _name_relation(relation)
            for relation in find_nodes(tree, "RangeVar")
            if relation.location not in places and (relation.schemaname or relation.relname not in with_names)
        }
        called |= set(_find_calls(tree))
    return BodyUse(frozenset(reads), frozenset(writes), frozenset(called), unknown)


def _find_refreshed(tree: Any) -> Iterator[Any]:
    yield from (refresh.relation for refresh in find_nodes(tree, "RefreshMatViewStmt"))
    # CREATE TABLE … AS writes what it creates.
    yield from (create.into.rel for create in find_nodes(tree, "CreateTableAsStmt"))


def _find_calls(tree: Any) -> Iterator[Name]:
    for call in find_nodes(tree, "FuncCall"):
        words = [part.string.sval for part in call.funcname]
        yield (words[-2] if len(words) > 1 else None), words[-1]


def _name_relation(relation: Any) -> Name:
    return relation.schemaname or None, relation.relname
