"""Find the names that SQL text creates, from its parse tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from confiture.sql.parser import ParseError, parse


def find_created_names(sql: str) -> frozenset[str] | None:
    """Return the unqualified names of all objects that ``sql`` creates; ``None`` if it does not parse.

    Covers tables, columns, constraints, indexes, views, sequences, types, domains, functions, triggers,
    schemas, extensions, and the new names of renamed objects.
    """
    try:
        return frozenset(
            name for parsed in parse(sql) for name in _find_names(parsed.kind, parsed.node) if name
        )
    except ParseError:
        return None


def _find_names(kind: str, node: Any) -> Iterator[str]:
    statement = getattr(node, kind)
    if kind == "create_stmt":
        yield statement.relation.relname
        yield from _find_element_names(statement.table_elts)
    elif kind == "alter_table_stmt":
        # The field is called ``def``, which is a Python keyword.
        yield from _find_element_names(getattr(cmd.alter_table_cmd, "def") for cmd in statement.cmds)
    elif kind in ("view_stmt", "create_table_as_stmt"):
        yield statement.view.relname if kind == "view_stmt" else statement.into.rel.relname
    elif kind == "rename_stmt":
        yield statement.newname
    elif kind in _NAME_LISTS:
        yield getattr(statement, _NAME_LISTS[kind])[-1].string.sval
    elif kind in _NAME_PATHS:
        yield _read_attribute(statement, _NAME_PATHS[kind])


_NAME_PATHS = {
    "index_stmt": "idxname",
    "create_seq_stmt": "sequence.relname",
    "composite_type_stmt": "typevar.relname",
    "create_schema_stmt": "schemaname",
    "create_extension_stmt": "extname",
    "create_trig_stmt": "trigname",
    "create_policy_stmt": "policy_name",
    "create_foreign_table_stmt": "base_stmt.relation.relname",
    "create_foreign_server_stmt": "servername",
}
_NAME_LISTS = {
    "create_function_stmt": "funcname",
    "create_enum_stmt": "type_name",
    "create_range_stmt": "type_name",
    "create_domain_stmt": "domainname",
    "define_stmt": "defnames",
}


def _find_element_names(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        if node.HasField("column_def"):
            yield node.column_def.colname
            yield from _find_element_names(node.column_def.constraints)
        elif node.HasField("constraint"):
            yield node.constraint.conname


def _read_attribute(statement: Any, path: str) -> str:
    for name in path.split("."):
        statement = getattr(statement, name)
    return str(statement)
