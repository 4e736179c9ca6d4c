"""PostgreSQL's own parser: the statements of a text, where each stands, or where it stops.

postgast is asked here and nowhere else; it costs a tenth of a second to import, hence only when there
is something to parse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from confiture.core.prelexer import statement_start

if TYPE_CHECKING:
    from postgast import PgQueryError
    from postgast.pg_query_pb2 import Node, ParseResult

_LONGEST_NEAR_CHARACTERS = 60


@frozen
class Parsed:
    """One statement as the parser sees it; ``start`` and ``end`` count characters."""

    start: int
    end: int
    kind: str
    node: Node = field(repr=False)


class Unreadable(Exception):
    """The parser refuses; ``offset`` counts characters from 0, ``None`` where it does not say."""

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def parse(text: str) -> list[Parsed]:
    """Return the statements of a text.

    Raises:
        Unreadable: The parser refuses the text.
    """
    import postgast
    from google.protobuf.message import DecodeError

    if "\0" in text:
        raise Unreadable("a NUL character", text.index("\0"))
    try:
        tree = postgast.parse(text)
    except postgast.PgQueryError as error:
        raise Unreadable(_shortened(error.message), _offset(error)) from None
    except UnicodeEncodeError as error:
        raise Unreadable("a character that UTF-8 has not", error.start) from None
    except DecodeError:
        tree = _parse_deep(text)
    return _located(text, tree)


def word(message: Any, name: str) -> str:
    """Return a field's value as PostgreSQL's source calls it, ``"AT_AddColumn"``."""
    return str(
        message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number[getattr(message, name)].name
    )


def nodes(message: Any, kind: str) -> Iterator[Any]:
    """Yield each node of a kind in a tree, ``"func_call"``, in the order of the text."""
    waiting = [message]
    while waiting:
        each = waiting.pop()
        below: list[Any] = []
        for descriptor, value in each.ListFields():
            if descriptor.name == kind:
                yield value
            if descriptor.message_type is not None:
                below += [value] if hasattr(value, "ListFields") else value
        waiting += reversed(below)


def _parse_deep(text: str) -> ParseResult:
    """Parse what is nested deeper than protobuf reads by default: fifty ``||`` in a row are enough."""
    import postgast
    from google.protobuf.message import DecodeError

    try:
        from google._upb._message import SetAllowOversizeProtos
    except ImportError:
        raise Unreadable("an expression is nested too deep to be read", None) from None
    SetAllowOversizeProtos(True)
    try:
        return postgast.parse(text)
    except DecodeError:
        raise Unreadable("an expression is nested too deep to be read", None) from None
    finally:
        SetAllowOversizeProtos(False)


def _offset(error: PgQueryError) -> int | None:
    # postgast's documentation says bytes; libpg_query counts characters, as the server does.
    return error.cursorpos - 1 if error.cursorpos > 0 else None


def _shortened(message: str) -> str:
    """Cut what stands after *at or near*: for an unclosed quote that is the rest of the file."""
    words, near, token = message.partition(' at or near "')
    if not near:
        return message
    first = token.removesuffix('"').split("\n", 1)[0][:_LONGEST_NEAR_CHARACTERS]
    return message if len(first) >= len(token) - 1 else f'{words}{near}{first}…"'


def _located(text: str, tree: ParseResult) -> list[Parsed]:
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
        begins = statement_start(text, start)
        assert begins is not None
        kind = raw.stmt.WhichOneof("node") or ""
        found.append(Parsed(begins, end if length_bytes else len(text), kind, raw.stmt))
    return found
