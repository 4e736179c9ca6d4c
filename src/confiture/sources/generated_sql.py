"""Get SQL from the tool that generates it, each statement on the line of the file that makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field

from confiture.models.migration import Direction
from confiture.sql.lexer import tokenize

# A down undoes few of many.
_MOST_BACKWARD = 5
Ask = Callable[[Sequence[str], Direction], Mapping[str, Any]]
"""Returns the tool's answer for each version; called with the versions and the direction."""


@define
class GeneratedSql:
    """Asks a tool for the SQL of its migrations, for many at once, when that of one is needed.

    Attributes:
        order: The versions, in order.
        ask: Asks the tool.
        answers: What it has answered.
    """

    order: Sequence[str]
    ask: Ask
    answers: dict[tuple[str, Direction], Any] = field(factory=dict)

    def get(self, version: str, direction: Direction) -> Any:
        """Return the tool's answer for a migration."""
        if (version, direction) not in self.answers:
            # Pending ones come after the first pending one, undone ones before it.
            place = self.order.index(version)
            first = place if direction == "forward" else max(0, place + 1 - _MOST_BACKWARD)
            end = len(self.order) if direction == "forward" else place + 1
            answers = self.ask(self.order[first:end], direction)
            self.answers.update({(name, direction): answer for name, answer in answers.items()})
        return self.answers[version, direction]


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
