"""Name an index as PostgreSQL does when the statement has no name: ``ChooseIndexName`` in its source."""

from __future__ import annotations

from typing import Any

from confiture.rules.parse_tree import TakenNames
from confiture.sql.parser import read_enum_name

# The names of expressions that look like functions and are none, by the parser's name of the node.
_NAMED = {"coalesce_expr": "coalesce", "a_array_expr": "array", "row_expr": "row"}


def name_index(stmt: Any, taken: TakenNames, table: str | None = None) -> str:
    """Return the name of an index, or of its part for the partition ``table``."""
    if stmt.idxname and table is None:
        return str(stmt.idxname)
    names: list[str] = []
    for parameter in (*stmt.index_params, *stmt.index_including_params):
        element = parameter.index_elem
        name = element.name or _name_expression(element.expr)[0] or "expr"
        # PostgreSQL names the columns of an index, and numbers what would repeat.
        number, numbered = 0, name
        while numbered in names:
            number += 1
            numbered = f"{name}{number}"
        names.append(numbered)
    return taken.choose(table or stmt.relation.relname, "_".join(names), "idx")


def _name_expression(node: Any) -> tuple[str, int]:
    """Return the name of an expression and how strong it is, as ``FigureColnameInternal`` does."""
    kind: str = node.WhichOneof("node") or ""
    inner: Any = getattr(node, kind) if kind else None
    if kind == "column_ref" and inner.fields[-1].HasField("string"):
        return inner.fields[-1].string.sval, 2
    if kind == "func_call":
        return inner.funcname[-1].string.sval, 2
    if kind == "type_cast":
        name, strength = _name_expression(inner.arg)
        return (name, strength) if strength > 1 else (inner.type_name.names[-1].string.sval, 1)
    if kind == "collate_clause":
        return _name_expression(inner.arg)
    if kind == "case_expr":
        name, strength = _name_expression(inner.defresult)
        return (name, strength) if strength > 1 else ("case", 1)
    if kind == "a_expr" and read_enum_name(inner, "kind") == "AEXPR_NULLIF":
        return "nullif", 2
    if kind == "min_max_expr":
        return read_enum_name(inner, "op").removeprefix("IS_").lower(), 2
    if kind == "a_indirection":
        last = inner.indirection[-1]
        return (last.string.sval, 2) if last.HasField("string") else _name_expression(inner.arg)
    return (_NAMED[kind], 2) if _NAMED.get(kind) else ("", 0)
