"""Look up what a placeholder stands for, and say what to configure if it stands for nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from confiture.exceptions import MigrationFault
from confiture.sql.position import SourceFile

_BARE_KEY = re.compile(r"[\w-]+", re.ASCII)


def get_value(source: SourceFile, variables: Mapping[str, str], name: str, written: str, offset: int) -> str:
    """Return the value of a variable for the placeholder ``written`` at ``offset``.

    Raises:
        MigrationFault: It has none, or one that would change the numbers of the lines below it.
    """
    if name not in variables:
        raise build_missing_fault(source, written, offset, [name])
    value = variables[name]
    if "\n" in value or "\r" in value:
        raise source.build_fault(
            f"the value of {name} has a line break, which would move all lines below it",
            offset,
            hint=f"write the value of {name} in one line",
        )
    return value


def build_missing_fault(
    source: SourceFile, written: str, offset: int, names: Sequence[str]
) -> MigrationFault:
    """Return the fault for a placeholder without a value; ``names`` are all of the file that have none."""
    lines = " and ".join(f'{_format_key(name)} = "…"' for name in names)
    return source.build_fault(
        f"{written} has no value",
        offset,
        hint=f"write {lines} below [tool.confiture.variables] in pyproject.toml, "
        "or below [variables] in confiture.toml",
    )


def _format_key(name: str) -> str:
    # TOML reads a dot as a table inside a table.
    return name if _BARE_KEY.fullmatch(name) else f'"{name}"'
