"""Format durations, counts, columns and names for text output, and escape control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import click

from confiture.escape import escape_control
from confiture.units import format_count as format_count
from confiture.units import format_duration as format_duration
from confiture.units import format_size as format_size

MIN_COLUMNS = 12
"""The least number of columns a text gets, even on a narrow terminal."""

# A private-use character, so that replacing it afterwards changes no real no-break space.
_GLUE_CHARACTER = "\ue000"
_AMOUNT = re.compile(r"(?<=\d) (?=(?:ms|s|min)\b)")


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines; each column is as wide as its widest cell."""
    widths = [max(map(measure_width, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(pad, row, widths)).rstrip() for row in rows]


def pad(text: str, to_width: int) -> str:
    """Return ``text`` padded with spaces to ``to_width`` columns; colour codes do not count."""
    return text + " " * (to_width - measure_width(text))


def measure_width(text: str) -> int:
    """Return how many columns ``text`` takes; colour codes do not count."""
    return len(click.unstyle(text))


def indent_lines(lines: Iterable[str], spaces: int) -> list[str]:
    """Return ``lines``, each indented by ``spaces``."""
    return [f"{' ' * spaces}{line}".rstrip() for line in lines]


def render_source_line(source_line: str, line: int | None, column: int | None) -> list[str]:
    """Return a source line with its number, and a caret below the column."""
    number = "" if line is None else str(line)
    before = source_line[: column - 1] if column else ""
    # Tabs are expanded in both lines, so that the caret stays under its character.
    lead = len(escape_control(before.expandtabs(4)))
    shown = [f"{number} | {escape_control(source_line.expandtabs(4))}"]
    return shown if not column else [*shown, f"{' ' * len(number)} | {' ' * lead}^"]


def format_place(file: object, line: int | None, column: int | None) -> str:
    """Return ``file:line:column``, without the parts that are ``None``."""
    return ":".join(
        escape_control(part) for part in (file, line, column if line else None) if part is not None
    )


def style_good(text: str) -> str:
    """Return ``text`` in the colour of success."""
    return click.style(text, fg="green")


def style_bad(text: str) -> str:
    """Return ``text`` in the colour of failure."""
    return click.style(text, fg="red", bold=True)


def style_notable(text: str) -> str:
    """Return ``text`` in the colour of warnings."""
    return click.style(text, fg="yellow")


def style_quiet(text: str) -> str:
    """Return ``text`` dimmed, for details."""
    return click.style(text, dim=True) if text else text


def keep_units_together(text: str, glue: str = "\N{NO-BREAK SPACE}") -> str:
    """Return ``text`` with ``glue`` between each number and its unit, so that no line breaks there."""
    return _AMOUNT.sub(glue, text)


def wrap_line(line: str, max_width: int | None, spaces: int) -> list[str]:
    """Wrap an uncoloured line and indent it by ``spaces``."""
    lead = " " * spaces
    if max_width is None:
        return [f"{lead}{line}"]
    # Imported here: only a terminal has a width, and commands start faster without it.
    import textwrap

    lines = textwrap.wrap(
        keep_units_together(line, _GLUE_CHARACTER),
        max(max_width, spaces + 4 + MIN_COLUMNS),
        initial_indent=lead,
        subsequent_indent=f"{lead}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [wrapped.replace(_GLUE_CHARACTER, " ") for wrapped in lines]


def join_names(names: Iterable[str], max_names: int = 5) -> str:
    """Join the names without repetitions, and cut the list if it is long."""
    unique = list(dict.fromkeys(map(escape_control, names)))
    rest = len(unique) - max_names
    # "and 1 more" would be no shorter than the name itself.
    return ", ".join(unique) if rest < 2 else f"{', '.join(unique[:max_names])} and {rest:,} more"


def shorten_sql(sql: str, max_width: int) -> str:
    """Return the first words of a statement, on one line of ``max_width`` columns at most."""
    line = escape_control(" ".join(sql.split()))
    if len(line) <= max_width:
        return line
    cut = line[: max(1, max_width - 1)]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut[max_width // 2 :] else cut}…"
