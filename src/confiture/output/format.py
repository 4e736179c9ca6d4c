"""How text output words things: durations, counts, columns, and names that might be hostile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import click

from confiture.escape import escape_control
from confiture.units import format_duration as format_duration
from confiture.units import format_size as format_size

MIN_COLUMNS = 12
"""The least number of columns a text gets, even on a narrow terminal."""

_GLUE_CHARACTER = "\ue000"
_AMOUNT = re.compile(r"(?<=\d) (?=(?:ms|s|min)\b)")


def format_count(count: int, noun: str) -> str:
    """Return ``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, every column as wide as its widest cell."""
    widths = [max(map(measure_width, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(pad, row, widths)).rstrip() for row in rows]


def pad(text: str, to_width: int) -> str:
    """Return ``text`` filled up with spaces to ``to_width`` columns, colours not counted."""
    return text + " " * (to_width - measure_width(text))


def measure_width(text: str) -> int:
    """Return how many columns ``text`` takes, colours not counted."""
    return len(click.unstyle(text))


def indent_lines(lines: Iterable[str], spaces: int) -> list[str]:
    """Return ``lines``, each ``spaces`` spaces further right."""
    return [f"{' ' * spaces}{line}".rstrip() for line in lines]


def render_source_line(source_line: str, line: int | None, column: int | None) -> list[str]:
    """Return a source line with its number, and a caret below the column."""
    number = "" if line is None else str(line)
    before = source_line[: column - 1] if column else ""
    # A tab above becomes a tab's width below, so that the caret stays under its character.
    lead = len(escape_control(before.expandtabs(4)))
    shown = [f"{number} | {escape_control(source_line.expandtabs(4))}"]
    return shown if not column else [*shown, f"{' ' * len(number)} | {' ' * lead}^"]


def format_place(file: object, line: int | None, column: int | None) -> str:
    """Return ``file:line:column``, as far as each is known."""
    return ":".join(
        escape_control(part) for part in (file, line, column if line else None) if part is not None
    )


def style_good(text: str) -> str:
    """Return ``text`` in the colour of what went well."""
    return click.style(text, fg="green")


def style_bad(text: str) -> str:
    """Return ``text`` in the colour of what failed."""
    return click.style(text, fg="red", bold=True)


def style_notable(text: str) -> str:
    """Return ``text`` in the colour of what deserves a look."""
    return click.style(text, fg="yellow")


def style_quiet(text: str) -> str:
    """Return ``text`` in the colour of what stands back."""
    return click.style(text, dim=True) if text else text


def keep_units_together(text: str, glue: str = "\N{NO-BREAK SPACE}") -> str:
    """Return ``text`` with every amount tied to its unit, so that they stay on one line."""
    return _AMOUNT.sub(glue, text)


def wrap_line(line: str, max_width: int | None, spaces: int) -> list[str]:
    """Wrap an uncoloured line and indent it by ``spaces``."""
    lead = " " * spaces
    if max_width is None:
        return [f"{lead}{line}"]
    import textwrap

    lines = textwrap.wrap(
        keep_units_together(line, _GLUE_CHARACTER),
        max(max_width, spaces + 4 + MIN_COLUMNS),
        initial_indent=lead,
        subsequent_indent=f"{lead}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [name.replace(_GLUE_CHARACTER, " ") for name in lines]


def join_names(names: Iterable[str], max_names: int = 5) -> str:
    """Join the names, and cut the list if it is long."""
    each = list(dict.fromkeys(map(escape_control, names)))
    rest = len(each) - max_names
    return ", ".join(each) if rest < 2 else f"{', '.join(each[:max_names])} and {rest:,} more"


def shorten_sql(sql: str, max_width: int) -> str:
    """Return the first words of a statement, on one line of ``max_width`` columns at most."""
    line = escape_control(" ".join(sql.split()))
    if len(line) <= max_width:
        return line
    cut = line[: max(1, max_width - 1)]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut[max_width // 2 :] else cut}…"
