"""Parse SQL with PostgreSQL's own parser, libpg_query: statements and their offsets, or the error's offset.

No other module imports postgast, so that another binding can replace it. It takes a tenth of a second to
import; functions import it when they have something to parse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from confiture.exceptions import ConfitureError
from confiture.sql.lexer import blank_comments, find_statement_start

if TYPE_CHECKING:
    from postgast import PgQueryError
    from postgast.pg_query_pb2 import Node, ParseResult

_LONGEST_NEAR_CHARACTERS = 60


@frozen
class RawStatement:
    """One parsed statement; ``start`` and ``end`` are offsets in characters."""

    start: int
    end: int
    kind: str
    node: Node = field(repr=False)


class ParseError(ConfitureError):
    """The parser rejects the text; ``offset`` counts characters from 0, ``None`` if it reports none."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def parse(text: str) -> list[RawStatement]:
    """Return the statements of a text.

    Raises:
        ParseError: The parser rejects the text.
    """
    # libpg_query takes a C string, and would ignore everything after the NUL.
    if "\0" in text:
        raise ParseError("a NUL character", text.index("\0"))
    try:
        return _locate_statements(text, _parse_tree(text))
    except ParseError as error:
        refused = error
    # PostgreSQL's lexer drops comments; libpg_query's passes them on, so that a comment separates the words
    # of NOT IN or WITH TIME ZONE, and the pieces of one string. Blanks in its place keep all offsets.
    bare = blank_comments(text) if "--" in text or "/*" in text else text
    if bare == text:
        raise refused
    return _locate_statements(bare, _parse_tree(bare))


@lru_cache(maxsize=4)
def parse_once(text: str) -> tuple[RawStatement, ...]:
    """Return the statements of a text, which several readers look at in turn and none may change.

    Raises:
        ParseError: The parser rejects the text.
    """
    return tuple(parse(text))


def _parse_tree(text: str) -> ParseResult:
    import postgast
    from google.protobuf.message import DecodeError

    try:
        return postgast.parse(text)
    except postgast.PgQueryError as error:
        raise ParseError(_shorten_message(error.message), _find_offset(error)) from None
    except UnicodeEncodeError as error:
        raise ParseError("a character that UTF-8 cannot encode", error.start) from None
    except DecodeError:
        return _parse_deep(text)


def load_parser() -> None:
    """Import the parser before forking, so that the worker processes share it and need not import it."""
    import_module("postgast")


@cache
def list_statement_kinds() -> frozenset[str]:
    """Return the parser's names of all statements, ``"index_stmt"``."""
    from postgast.pg_query_pb2 import Node

    fields = Node.DESCRIPTOR.oneofs_by_name["node"].fields
    return frozenset(field.name for field in fields if field.name.endswith("_stmt"))


@cache
def list_alter_commands() -> frozenset[str]:
    """Return PostgreSQL's names of the commands of ALTER TABLE, ``"AT_AddColumn"``."""
    from postgast.pg_query_pb2 import AlterTableType

    return frozenset(name for name in AlterTableType.keys() if name.startswith("AT_"))  # noqa: SIM118


def read_enum_name(message: Any, name: str) -> str:
    """Return the name of an enum field's value in PostgreSQL's source, ``"AT_AddColumn"``."""
    return _look_up_enum_name(message.DESCRIPTOR, name, getattr(message, name))


@cache
def _look_up_enum_name(descriptor: Any, name: str, number: int) -> str:
    return str(descriptor.fields_by_name[name].enum_type.values_by_number[number].name)


def find_nodes(message: Any, *kinds: str) -> Iterator[Any]:
    """Yield the nodes of these kinds, ``"FuncCall"``, in a tree, the root included; outer nodes first."""
    # A stack, because a long chain of || would exceed Python's recursion limit.
    stack = [message]
    while stack:
        node = stack.pop()
        if node.DESCRIPTOR.name in kinds:
            yield node
        for descriptor, value in reversed(node.ListFields()):
            if descriptor.message_type is not None:
                stack += [value] if hasattr(value, "ListFields") else reversed(value)


def parse_plpgsql(text: str) -> list[dict[str, Any]]:
    """Return the bodies of a DO block or a CREATE FUNCTION in PL/pgSQL, as libpg_query's JSON.

    Raises:
        ParseError: PL/pgSQL's own parser rejects it, or it needs a catalog that libpg_query does not have.
    """
    import postgast

    try:
        return list(postgast.parse_plpgsql(text))
    except postgast.PgQueryError as error:
        raise ParseError(_shorten_message(error.message), None) from None
    except json.JSONDecodeError as error:
        return _repair_json(error)


def deparse(node: Node) -> str:
    """Return a statement's tree as SQL."""
    import postgast
    from postgast.pg_query_pb2 import ParseResult, RawStmt

    return str(postgast.deparse(ParseResult(stmts=[RawStmt(stmt=node)])))


def rewrite_assignment(text: str) -> str:
    """Return a PL/pgSQL assignment as a SELECT list: ``a := f(1)`` becomes ``a , f(1)``.

    The SQL parser has no assignment, but the SELECT list holds the same expressions and function calls.
    """
    depth = 0
    for token, start, end in scan_tokens(text):
        depth += (token in "([") - (token in ")]")
        if token in ("=", ":=") and not depth:
            return f"{text[:start]},{text[end:]}"
    return text


def scan_tokens(text: str) -> list[tuple[str, int, int]]:
    """Return the tokens of a text, each with its start and end in characters.

    Raises:
        ParseError: The scanner rejects the text, for example at an unclosed quote.
    """
    import postgast

    data = text.encode()
    try:
        found = postgast.scan(text).tokens
    except postgast.PgQueryError as error:
        raise ParseError(_shorten_message(error.message), None) from None
    # The scanner counts bytes.
    spans = [(len(data[: token.start].decode()), len(data[: token.end].decode())) for token in found]
    return [(text[start:end], start, end) for start, end in spans]


def _repair_json(error: json.JSONDecodeError) -> list[dict[str, Any]]:
    """Return libpg_query's JSON of a trigger function without the extra brace after each variable."""
    doc = error.doc
    while error.pos < len(doc) and doc[error.pos] == "}":
        doc = doc[: error.pos] + doc[error.pos + 1 :]
        try:
            return list(json.loads(doc))
        except json.JSONDecodeError as next_error:
            error = next_error
    raise ParseError("the PL/pgSQL parser returned invalid JSON", None)


def deparse_statement(kind: str, stmt: Any) -> str:
    """Return a statement's tree of this kind as SQL, in PostgreSQL's spelling."""
    return deparse(wrap_statement(kind, stmt))


def wrap_statement(kind: str, stmt: Any) -> Node:
    """Return the tree of a statement of this kind as a node."""
    from postgast.pg_query_pb2 import Node

    node = Node()
    getattr(node, kind).CopyFrom(stmt)
    return node


def deparse_expression(expression: Any) -> str:
    """Return an expression's tree as SQL."""
    from postgast.pg_query_pb2 import SelectStmt

    select = SelectStmt()
    select.target_list.add().res_target.val.CopyFrom(expression)
    return deparse_statement("select_stmt", select).removeprefix("SELECT ")


def deparse_type(type_name: Any) -> str:
    """Return a type as SQL, ``numeric(10, 2)``."""
    from postgast.pg_query_pb2 import Node

    # libpg_query deparses statements only, so wrap the type as SELECT NULL::type.
    cast = Node()
    cast.type_cast.arg.a_const.isnull = True
    cast.type_cast.type_name.CopyFrom(type_name)
    return deparse_expression(cast).removeprefix("NULL::")


def parse_type(text: str) -> Any:
    """Return the tree of a type, ``numeric(10, 2)``."""
    return parse_expression(f"NULL::{text}").type_cast.type_name


def parse_expression(text: str) -> Any:
    """Return the tree of an expression."""
    (statement,) = parse(f"SELECT {text}")
    return statement.node.select_stmt.target_list[0].res_target.val


def _parse_deep(text: str) -> ParseResult:
    """Parse text that is nested deeper than protobuf allows by default; 50 ``||`` in a row are enough."""
    import postgast
    from google.protobuf.message import DecodeError

    try:
        from google._upb._message import SetAllowOversizeProtos
    except ImportError:
        raise ParseError("an expression is nested too deeply to parse", None) from None
    SetAllowOversizeProtos(True)
    try:
        return postgast.parse(text)
    except DecodeError:
        raise ParseError("an expression is nested too deeply to parse", None) from None
    finally:
        # The switch is global to the process: other users of protobuf keep their limit.
        SetAllowOversizeProtos(False)


def _find_offset(error: PgQueryError) -> int | None:
    # postgast documents bytes, but libpg_query counts characters from 1, as the server does.
    return error.cursorpos - 1 if error.cursorpos > 0 else None


def _shorten_message(message: str) -> str:
    """Cut the token after *at or near* to one line; for an unclosed quote it is the rest of the file."""
    words, near, token = message.partition(' at or near "')
    if not near:
        return message
    first = token.removesuffix('"').split("\n", 1)[0][:_LONGEST_NEAR_CHARACTERS]
    return message if len(first) >= len(token) - 1 else f'{words}{near}{first}…"'


def _locate_statements(text: str, tree: ParseResult) -> list[RawStatement]:
    found = []
    # libpg_query's offsets are bytes. In ASCII they equal characters, and nothing has to be decoded.
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
        # libpg_query lets a statement begin right after the last semicolon, before any comment.
        begins = find_statement_start(text, start)
        assert begins is not None
        kind = raw.stmt.WhichOneof("node") or ""
        # A length of 0 means that no semicolon ends the statement.
        found.append(RawStatement(begins, end if length_bytes else len(text), kind, raw.stmt))
    return found
