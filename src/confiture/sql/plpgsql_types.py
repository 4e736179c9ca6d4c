"""Replace types that libpg_query's PL/pgSQL parser does not know with types that it does.

libpg_query stops at a type in another schema, at an array of a user-defined type, and at a field of a
``%ROWTYPE``. The statements in a body do not depend on any of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.sql.lexer import blank_comments
from confiture.sql.parser import deparse, find_nodes, read_enum_name, scan_tokens


def use_plain_types(node: Any) -> str:
    """Return a DO block or a CREATE FUNCTION with plain types; the lines of its body do not move.

    Raises:
        ParseError: The scanner rejects the body.
    """
    changed = type(node)()
    changed.CopyFrom(node)
    for type_name in find_nodes(changed, "TypeName"):
        _make_plain(type_name)
    for parameter in find_nodes(changed, "FunctionParameter"):
        # libpg_query refuses the array type that a VARIADIC parameter must have.
        if read_enum_name(parameter, "mode") == "FUNC_PARAM_VARIADIC":
            parameter.ClearField("mode")
    for option in find_nodes(changed, "DefElem"):
        if option.defname != "as":
            continue
        body = option.arg.list.items[0].string if option.arg.HasField("list") else option.arg.string
        # A comment between two words of a type is no obstacle for PL/pgSQL, but for libpg_query.
        body.sval = _replace_declared_types(blank_comments(body.sval))
    return deparse(changed)


def _make_plain(type_name: Any) -> None:
    names = [name.string.sval for name in type_name.names]
    if type_name.pct_type or (type_name.array_bounds and names[0] != "pg_catalog"):
        type_name.pct_type = False
        _rename(type_name, "text")
    elif len(names) > 1 and names[0] != "pg_catalog":
        _rename(type_name, names[-1])


def _rename(type_name: Any, name: str) -> None:
    del type_name.names[1:]
    type_name.names[0].string.sval = name


def _replace_declared_types(body: str) -> str:
    """Return the body with plain types in its variable declarations."""
    # From the last to the first, so that earlier offsets stay valid.
    for start, end, plain in reversed(list(_find_replacements(scan_tokens(body)))):
        lines = "\n" * body.count("\n", start, end)
        body = f"{body[:start]}{plain}{lines}{body[end:]}"
    return body


def _find_replacements(found: list[tuple[str, int, int]]) -> Iterator[tuple[int, int, str]]:
    """Yield the start and end of each type to replace, and its replacement."""
    words = [token.lower() for token, _, _ in found]
    declaring = False
    for at, previous in enumerate(["", *words[:-1]]):
        if words[at] in ("declare", "begin") and previous in (
            "",
            ";",
            "begin",
            "then",
            "else",
            "loop",
            ">>",
            "declare",
        ):
            declaring = words[at] == "declare"
        elif declaring and previous in ("declare", ";"):
            first = at + 1 + (words[at + 1 : at + 2] == ["constant"])
            last, plain = _parse_type(words, first)
            if plain:
                yield found[first][1], found[last - 1][2], plain


def _parse_type(words: list[str], first: int) -> tuple[int, str | None]:
    """Return the end of the type that begins at word ``first``, and its replacement or ``None``."""
    last = first + 1
    while words[last : last + 1] == ["."]:
        last += 2
    after = words[last : last + 2]
    if after == ["%", "rowtype"]:
        return last + 2, "record"
    if after == ["%", "type"]:
        return last + 2, None
    if after[:1] in (["["], ["array"]):
        return last, "text"
    qualified = last > first + 1 and words[first] != "pg_catalog"
    return last, "record" if qualified else None
