"""The statements that a DO block writes out in full: what a rehearsal saw of it gets a name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from confiture.rules.parsed_migration import Piece
from confiture.sql.parser import Unreadable, parse

_WRITTEN = re.compile(r"'((?:[^']|'')+)'")
_BARE = re.compile(
    r"(?:^|;|\bBEGIN\b|\bTHEN\b|\bLOOP\b)\s*((?:ALTER|CREATE|DROP|REINDEX|TRUNCATE|REFRESH|LOCK)\b[^;]*)",
    re.I,
)


def pieces_inside(piece: Piece) -> Iterator[Piece]:
    """Yield the statements in a DO block's text; none where there was no rehearsal to confirm them."""
    if piece.kind != "do_stmt" or piece.report is None:
        return
    for body in (each.def_elem for each in piece.stmt.args):
        if body.defname == "as":
            for text in _texts(body.arg.string.sval):
                yield from _pieces(piece, text)


def _texts(body: str) -> Iterator[str]:
    yield from (each.group(1).replace("''", "'") for each in _WRITTEN.finditer(body))
    yield from (each.group(1) for each in _BARE.finditer(body))


def _pieces(piece: Piece, text: str) -> Iterator[Piece]:
    try:
        found = parse(text)
    except Unreadable:
        return
    for each in found:
        yield Piece(
            sql=piece.sql,
            line=piece.line,
            kind=each.kind,
            node=each.node,
            reading=piece.reading,
            index=piece.index,
            report=piece.report,
            inside=True,
        )
