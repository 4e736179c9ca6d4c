"""Find the relations that a function reads and writes, with the parsers of SQL and PL/pgSQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field, frozen

from confiture.schema.schema_catalog import CatalogFunction
from confiture.sql.procedural import ProceduralBody, parse_body

Name = tuple[str | None, str]
"""A schema, ``None`` if the text names none, and a name."""
_WRITING = re.compile(r"\b(?:insert|update|delete|merge|truncate|copy|refresh|execute|into)\b", re.IGNORECASE)
_WRITES = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "RefreshMatViewStmt")


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


def may_write(function: CatalogFunction) -> bool:
    """Return True unless the text shows that the function writes nothing: parsing is slow."""
    return bool(_WRITING.search(function.definition or function.source)) or not function.definition


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
        found = _TreeNames()
        found.collect(tree)
        writes |= set(map(_name_relation, found.targets))
        # The target of an INSERT is a node like any other relation; its place in the text tells them apart.
        places = {target.location for target in found.targets}
        reads |= {
            _name_relation(relation)
            for relation in found.relations
            if relation.location not in places
            and (relation.schemaname or relation.relname not in found.with_names)
        }
        called |= found.calls
    return BodyUse(frozenset(reads), frozenset(writes), frozenset(called), unknown)


@define
class _TreeNames:
    """The names in one tree, collected in one walk: a schema has thousands of functions.

    Attributes:
        relations: All relations, the targets included.
        targets: The relations that are written or refreshed.
        with_names: The names that WITH clauses give, which hide tables of these names.
        calls: The functions.
    """

    relations: list[Any] = field(factory=list)
    targets: list[Any] = field(factory=list)
    with_names: set[str] = field(factory=set)
    calls: set[Name] = field(factory=set)

    def collect(self, tree: Any) -> None:
        """Walk the tree, with a stack: a long chain of || would exceed Python's recursion limit."""
        stack = [tree]
        while stack:
            node = stack.pop()
            self._collect_node(node.DESCRIPTOR.name, node)
            for descriptor, value in node.ListFields():
                if descriptor.message_type is not None:
                    stack += [value] if hasattr(value, "ListFields") else value

    def _collect_node(self, kind: str, node: Any) -> None:
        if kind == "RangeVar":
            self.relations.append(node)
        elif kind == "FuncCall":
            words = [part.string.sval for part in node.funcname]
            self.calls.add(((words[-2] if len(words) > 1 else None), words[-1]))
        elif kind == "CommonTableExpr":
            self.with_names.add(node.ctename)
        else:
            self.targets += _list_targets(kind, node)


def _list_targets(kind: str, node: Any) -> Iterator[Any]:
    if kind in _WRITES or (kind == "CopyStmt" and node.is_from):
        yield node.relation
    elif kind == "TruncateStmt":
        yield from (relation.range_var for relation in node.relations)
    elif kind == "CreateTableAsStmt":
        # It writes what it creates.
        yield node.into.rel


def _name_relation(relation: Any) -> Name:
    return relation.schemaname or None, relation.relname
