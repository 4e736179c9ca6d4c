"""Lay out SQL that another tool generates, so that each statement is on the line that generated it."""

from __future__ import annotations

from collections.abc import Iterable

from confiture.sql.lexer import tokenize


def lay_out(statements: Iterable[tuple[int, str]]) -> str:
    """Return a text with the statements, each on its line if it comes after the one before.

    Line breaks and comments are taken out of a statement, as they would move those after it; those in quotes
    are not.
    """
    pieces, current = list[str](), 1
    for line, sql in statements:
        if not (flat := _flatten(sql)):
            continue
        pieces.append("\n" * (line - current) if line > current else " ")
        pieces.append(f"{flat};")
        current = max(line, current) + flat.count("\n")
    return "".join(pieces)


def _flatten(sql: str) -> str:
    pieces = []
    for token in tokenize(sql):
        written = sql[token.start : token.end]
        pieces.append(" " if token.kind == "newline" or written.startswith("--") else written)
    return "".join(pieces).strip(" \t\r\f\v;")
