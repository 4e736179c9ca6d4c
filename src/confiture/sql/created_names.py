"""Find the names that SQL text creates, from its parse tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from confiture.sql.parser import ParseError, parse
from confiture.sql.procedural import parse_body

# PostgreSQL names the indexes, constraints and sequences of a table after it: jam_pkey, jam_id_seq.
_IMPLICIT_NAME = re.compile(r"(.+?)_(?:.+_)?(?:pkey|key|fkey|check|excl|idx|seq|not_null)\d*")


def find_created_names(sql: str) -> frozenset[str] | None:
    """Return the unqualified names of all objects that ``sql`` creates; ``None`` if it does not parse.

    Covers tables, columns, constraints, indexes, views, sequences, types, domains, functions, triggers,
    schemas, extensions, roles and so on, the new names of renamed objects, and what a DO block creates.
    """
    try:
        found = [(parsed.kind, parsed.node) for parsed in parse(sql)]
    except ParseError:
        return None
    found += [(inner.kind, inner.node) for inner in parse_body(sql).statements if inner.node is not None]
    return frozenset(name for kind, node in found for name in _find_names(kind, node) if name)


def creates_name(sql: str, name: str) -> bool:
    """Return True if ``sql`` creates an object of this name, or may: part of its text cannot be read."""
    names = find_created_names(sql)
    if names is None or parse_body(sql).unknown:
        return bool(re.search(rf"\b{re.escape(name)}\b", sql)) or name in (names or ())
    implicit = _IMPLICIT_NAME.fullmatch(name)
    return name in names or (implicit is not None and any(name.startswith(f"{made}_") for made in names))


def _find_names(kind: str, node: Any) -> Iterator[str]:
    statement = getattr(node, kind)
    if kind == "create_stmt":
        yield statement.relation.relname
        yield from _find_element_names(statement.table_elts)
    elif kind == "alter_table_stmt":
        # The field is called ``def``, which is a Python keyword.
        yield from _find_element_names(getattr(cmd.alter_table_cmd, "def") for cmd in statement.cmds)
    elif kind in ("select_stmt", "create_schema_stmt"):
        yield statement.schemaname if kind == "create_schema_stmt" else statement.into_clause.rel.relname
        for element in statement.schema_elts if kind == "create_schema_stmt" else ():
            yield from _find_names(element.WhichOneof("node"), element)
    elif kind == "alter_object_schema_stmt":
        # The object is known by the same name, in another schema.
        yield from (statement.relation.relname, _read_last_name(statement.object))
    elif kind == "rename_stmt":
        yield statement.newname
    elif kind in _NAME_LISTS:
        # CREATE STATISTICS may have no name.
        yield from (part.string.sval for part in list(getattr(statement, _NAME_LISTS[kind]))[-1:])
    elif kind in _NAME_PATHS:
        yield _read_attribute(statement, _NAME_PATHS[kind])


_NAME_PATHS = {
    "index_stmt": "idxname",
    "create_seq_stmt": "sequence.relname",
    "view_stmt": "view.relname",
    "create_table_as_stmt": "into.rel.relname",
    "composite_type_stmt": "typevar.relname",
    "create_extension_stmt": "extname",
    "create_trig_stmt": "trigname",
    "create_policy_stmt": "policy_name",
    "create_foreign_table_stmt": "base_stmt.relation.relname",
    "create_foreign_server_stmt": "servername",
    "create_fdw_stmt": "fdwname",
    "create_role_stmt": "role",
    "create_publication_stmt": "pubname",
    "create_subscription_stmt": "subname",
    "create_event_trig_stmt": "trigname",
    "create_plang_stmt": "plname",
    "create_am_stmt": "amname",
    "rule_stmt": "rulename",
}
_NAME_LISTS = {
    "create_function_stmt": "funcname",
    "create_enum_stmt": "type_name",
    "create_range_stmt": "type_name",
    "create_domain_stmt": "domainname",
    "define_stmt": "defnames",
    "create_stats_stmt": "defnames",
    "create_op_class_stmt": "opclassname",
    "create_op_family_stmt": "opfamilyname",
    "create_conversion_stmt": "conversion_name",
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


def _read_last_name(node: Any) -> str:
    """Return the name of an object that is given as a type, a list of names or a signature."""
    kind = node.WhichOneof("node")
    if kind == "list":
        return str(node.list.items[-1].string.sval)
    if kind in ("object_with_args", "type_name"):
        names = node.object_with_args.objname if kind == "object_with_args" else node.type_name.names
        return str(names[-1].string.sval)
    return str(node.string.sval) if kind == "string" else ""
