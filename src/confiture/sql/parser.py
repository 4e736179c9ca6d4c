"""PostgreSQL's own parser: the statements of a text, where each stands, or where it stops.

postgast is asked here and nowhere else; it costs a tenth of a second to import, hence only when there
is something to parse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from confiture.sql.lexer import find_statement_start

if TYPE_CHECKING:
    from postgast import PgQueryError
    from postgast.pg_query_pb2 import Node, ParseResult

_LONGEST_NEAR_CHARACTERS = 60


@frozen
class RawStatement:
    """One statement as the parser sees it; ``start`` and ``end`` count characters."""

    start: int
    end: int
    kind: str
    node: Node = field(repr=False)


class ParseError(Exception):
    """The parser refuses; ``offset`` counts characters from 0, ``None`` where it does not say."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def parse(text: str) -> list[RawStatement]:
    """Return the statements of a text.

    Raises:
        Unreadable: The parser refuses the text.
    """
    import postgast
    from google.protobuf.message import DecodeError

    if "\0" in text:
        raise ParseError("a NUL character", text.index("\0"))
    try:
        tree = postgast.parse(text)
    except postgast.PgQueryError as error:
        raise ParseError(_shorten_message(error.message), _find_offset(error)) from None
    except UnicodeEncodeError as error:
        raise ParseError("a character that UTF-8 has not", error.start) from None
    except DecodeError:
        tree = _parse_deep(text)
    return _locate_statements(text, tree)


def load_parser() -> None:
    """Import the parser now: what several processes are to use is not loaded by each of them."""
    import_module("postgast")


def read_enum_name(message: Any, name: str) -> str:
    """Return a field's value as PostgreSQL's source calls it, ``"AT_AddColumn"``."""
    return _look_up_enum_name(message.DESCRIPTOR, name, getattr(message, name))


@cache
def _look_up_enum_name(descriptor: Any, name: str, number: int) -> str:
    return str(descriptor.fields_by_name[name].enum_type.values_by_number[number].name)


def find_nodes(message: Any, kind: str) -> Iterator[Any]:
    """Yield the nodes of a kind in a tree, itself included, ``"FuncCall"``; outer ones first."""
    waiting = [message]
    while waiting:
        each = waiting.pop()
        if each.DESCRIPTOR.name == kind:
            yield each
        for descriptor, value in reversed(each.ListFields()):
            if descriptor.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else reversed(value)


def parse_plpgsql(text: str) -> list[dict[str, Any]]:
    """Return the bodies of a DO block or of a CREATE FUNCTION in PL/pgSQL, as libpg_query's JSON has them.

    Raises:
        Unreadable: PL/pgSQL's own parser refuses it, or libpg_query lacks something it needs.
    """
    import postgast

    try:
        return list(postgast.parse_plpgsql(text))
    except postgast.PgQueryError as error:
        raise ParseError(_shorten_message(error.message), None) from None
    except json.JSONDecodeError as error:
        return _repair_json(error)


def deparse(node: Node) -> str:
    """Return a statement's tree as text again."""
    import postgast
    from postgast.pg_query_pb2 import ParseResult, RawStmt

    return str(postgast.deparse(ParseResult(stmts=[RawStmt(stmt=node)])))


def rewrite_assignment(text: str) -> str:
    """Return an assignment in PL/pgSQL as what may stand after SELECT: ``a := f(1)`` is ``a , f(1)``."""
    depth = 0
    for piece, start, end in scan_tokens(text):
        depth += (piece in "([") - (piece in ")]")
        if piece in ("=", ":=") and not depth:
            return f"{text[:start]},{text[end:]}"
    return text


def scan_tokens(text: str) -> list[tuple[str, int, int]]:
    """Return the words and signs of a text, each with its start and end in characters.

    Raises:
        Unreadable: A quote is not closed, or the like.
    """
    import postgast

    data = text.encode()
    try:
        found = postgast.scan(text).tokens
    except postgast.PgQueryError as error:
        raise ParseError(_shorten_message(error.message), None) from None
    places = [(len(data[: each.start].decode()), len(data[: each.end].decode())) for each in found]
    return [(text[start:end], start, end) for start, end in places]


def _repair_json(error: json.JSONDecodeError) -> list[dict[str, Any]]:
    """Read what libpg_query says of a trigger function: each of its variables has a brace too many."""
    doc = error.doc
    while error.pos < len(doc) and doc[error.pos] == "}":
        doc = doc[: error.pos] + doc[error.pos + 1 :]
        try:
            return list(json.loads(doc))
        except json.JSONDecodeError as next_error:
            error = next_error
    raise ParseError("the parser's answer cannot be read", None)


def deparse_statement(kind: str, stmt: Any) -> str:
    """Return a statement's tree as SQL, in PostgreSQL's own spelling."""
    import postgast
    from postgast.pg_query_pb2 import ParseResult

    tree = ParseResult()
    getattr(tree.stmts.add().stmt, kind).CopyFrom(stmt)
    return str(postgast.deparse(tree))


def deparse_expression(expression: Any) -> str:
    """Return an expression's tree as SQL."""
    from postgast.pg_query_pb2 import SelectStmt

    select = SelectStmt()
    select.target_list.add().res_target.val.CopyFrom(expression)
    return deparse_statement("select_stmt", select).removeprefix("SELECT ")


def deparse_type(type_name: Any) -> str:
    """Return a type as SQL, ``numeric(10, 2)``."""
    from postgast.pg_query_pb2 import Node

    cast = Node()
    cast.type_cast.arg.a_const.isnull = True
    cast.type_cast.type_name.CopyFrom(type_name)
    return deparse_expression(cast).removeprefix("NULL::")


def _parse_deep(text: str) -> ParseResult:
    """Parse what is nested deeper than protobuf reads by default: fifty ``||`` in a row are enough."""
    import postgast
    from google.protobuf.message import DecodeError

    try:
        from google._upb._message import SetAllowOversizeProtos
    except ImportError:
        raise ParseError("an expression is nested too deep to be read", None) from None
    SetAllowOversizeProtos(True)
    try:
        return postgast.parse(text)
    except DecodeError:
        raise ParseError("an expression is nested too deep to be read", None) from None
    finally:
        SetAllowOversizeProtos(False)


def _find_offset(error: PgQueryError) -> int | None:
    # postgast's documentation says bytes; libpg_query counts characters, as the server does.
    return error.cursorpos - 1 if error.cursorpos > 0 else None


def _shorten_message(message: str) -> str:
    """Cut what stands after *at or near*: for an unclosed quote that is the rest of the file."""
    words, near, token = message.partition(' at or near "')
    if not near:
        return message
    first = token.removesuffix('"').split("\n", 1)[0][:_LONGEST_NEAR_CHARACTERS]
    return message if len(first) >= len(token) - 1 else f'{words}{near}{first}…"'


def _locate_statements(text: str, tree: ParseResult) -> list[RawStatement]:
    found = []
    data = b"" if text.isascii() else text.encode()
    done_bytes = done = 0
    for raw in tree.stmts:
        start_bytes, length_bytes = raw.stmt_location, raw.stmt_len
        if data:
            start = done + len(data[done_bytes:start_bytes].decode())
            done_bytes, done = start_bytes, start
            end = start + len(data[start_bytes : start_bytes + length_bytes].decode())
        else:
            start, end = start_bytes, start_bytes + length_bytes
        begins = find_statement_start(text, start)
        assert begins is not None
        kind = raw.stmt.WhichOneof("node") or ""
        found.append(RawStatement(begins, end if length_bytes else len(text), kind, raw.stmt))
    return found
