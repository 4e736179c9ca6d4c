"""How text output words things: durations, counts, columns, and names that might be hostile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import click

from confiture.escape import inert
from confiture.units import duration as duration
from confiture.units import size as size

NARROWEST = 12
"""Columns that a text is given even where there is no room for it."""

_GLUE = "\ue000"
_AMOUNT = re.compile(r"(?<=\d) (?=(?:ms|s|min)\b)")


def plural(count: int, noun: str) -> str:
    """Return ``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, every column as wide as its widest cell."""
    widths = [max(map(width, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(padded, row, widths)).rstrip() for row in rows]


def padded(text: str, to: int) -> str:
    """Return ``text`` filled up with spaces to ``to`` columns, colours not counted."""
    return text + " " * (to - width(text))


def width(text: str) -> int:
    """Return how many columns ``text`` takes, colours not counted."""
    return len(click.unstyle(text))


def indented(lines: Iterable[str], by: int) -> list[str]:
    """Return ``lines``, each ``by`` spaces further right."""
    return [f"{' ' * by}{line}".rstrip() for line in lines]


def pointed(source_line: str, line: int | None, column: int | None) -> list[str]:
    """Return a source line with its number, and a caret below the column."""
    number = "" if line is None else str(line)
    before = source_line[: column - 1] if column else ""
    # A tab above becomes a tab's width below, so that the caret stays under its character.
    lead = len(inert(before.expandtabs(4)))
    shown = [f"{number} | {inert(source_line.expandtabs(4))}"]
    return shown if not column else [*shown, f"{' ' * len(number)} | {' ' * lead}^"]


def place(file: object, line: int | None, column: int | None) -> str:
    """Return ``file:line:column``, as far as each is known."""
    return ":".join(inert(part) for part in (file, line, column if line else None) if part is not None)


def good(text: str) -> str:
    """Return ``text`` in the colour of what went well."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Return ``text`` in the colour of what failed."""
    return click.style(text, fg="red", bold=True)


def notable(text: str) -> str:
    """Return ``text`` in the colour of what deserves a look."""
    return click.style(text, fg="yellow")


def quiet(text: str) -> str:
    """Return ``text`` in the colour of what stands back."""
    return click.style(text, dim=True) if text else text


def glued(text: str, glue: str = "\N{NO-BREAK SPACE}") -> str:
    """Return ``text`` with every amount tied to its unit, so that they stay on one line."""
    return _AMOUNT.sub(glue, text)


def wrapped(line: str, room: int | None, by: int) -> list[str]:
    """Return a line without colours, ``by`` to the right, as several where there is no room for one."""
    lead = " " * by
    if room is None:
        return [f"{lead}{line}"]
    import textwrap

    lines = textwrap.wrap(
        glued(line, _GLUE),
        max(room, by + 4 + NARROWEST),
        initial_indent=lead,
        subsequent_indent=f"{lead}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [each.replace(_GLUE, " ") for each in lines]


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the names in a row, cut short where there are very many."""
    each = list(dict.fromkeys(map(inert, names)))
    rest = len(each) - most
    return ", ".join(each) if rest < 2 else f"{', '.join(each[:most])} and {rest:,} more"


def shortened(sql: str, to: int) -> str:
    """Return the first words of a statement, on one line of ``to`` columns at most."""
    line = inert(" ".join(sql.split()))
    if len(line) <= to:
        return line
    cut = line[: max(1, to - 1)]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut[to // 2 :] else cut}…"
