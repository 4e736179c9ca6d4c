"""Say what is odd about files that are taken as they are: no statement, or a BEGIN and COMMIT around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from confiture.models.migration import SqlScript

_MOST_NAMED = 3
_SAME_NAMES = ("up.sql", "down.sql", "migration.sql")


def note_files(scripts: Iterable[SqlScript]) -> tuple[str, ...]:
    """Return a note on the files without a statement, and one on those with BEGIN and COMMIT around them."""
    # `redo` runs both directions of one file.
    listed = list({name_file(script.file): script for script in scripts}.values())
    empty = [name_file(script.file) for script in listed if not script.statements and not script.passed_over]
    wrapped = [script for script in listed if script.passed_over]
    notes = []
    if empty:
        notes.append(
            f"without a statement, {'does' if len(empty) == 1 else 'do'} nothing: {format_names(empty)}"
        )
    if wrapped:
        what = wrapped[0].passed_over if len(wrapped) == 1 else "BEGIN and COMMIT"
        names = format_names([name_file(script.file) for script in wrapped])
        notes.append(f"passed over {what} of {names}: confiture begins and commits the transaction itself")
    return tuple(notes)


def name_file(file: Path) -> str:
    """Return the name of a file, with its folder where each migration has a folder to itself."""
    return f"{file.parent.name}/{file.name}" if file.name in _SAME_NAMES else file.name


def format_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
