"""The constant SQL in a Python migration: what is handed to ``self.execute`` as a string."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from confiture.core.parsing import Unreadable, parse
from confiture.exceptions import MigrationFault
from confiture.models.migration import Script
from confiture.rules.reading import Piece, Reading


def read_python(script: Script, root: Path) -> Reading:
    """Return a Python migration as the rules read it, without running it.

    Raises:
        MigrationFault: It is not Python.
    """
    from confiture.rules.linting import shown

    try:
        tree = ast.parse(script.text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise MigrationFault(f"{script.path.name}: {error}", file=script.path, line=line) from None
    reading = Reading(script.version, script.name, shown(script.path, root), transactional=not _outside(tree))
    for line, sql in _executed(tree):
        add_pieces(reading, sql, line)
    return reading


def add_pieces(reading: Reading, sql: str, line: int) -> None:
    """Add the statements of a text; what the parser refuses, as for its placeholders, is left out."""
    try:
        found = parse(sql)
    except Unreadable:
        return
    for each in found:
        text = sql[each.start : each.end]
        reading.pieces.append(Piece(text, line, each.kind, each.node, reading, len(reading.pieces)))


def _outside(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [each.id for each in targets if isinstance(each, ast.Name)]
            if "transactional" in names and node.value.value is False:
                return True
    return False


def _executed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for up in ast.walk(tree):
        if isinstance(up, ast.FunctionDef) and up.name == "up":
            for call in ast.walk(up):
                if isinstance(call, ast.Call) and _is_execute(call) and call.args:
                    first = call.args[0]
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        yield call.lineno, first.value


def _is_execute(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "execute"
        and isinstance(function.value, ast.Name)
        and function.value.id == "self"
    )
