"""Decide which changesets of Liquibase run: by database, context and label.

The expressions are those of https://docs.liquibase.com/concepts/changelogs/attributes/contexts.html.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_TOKEN = re.compile(r"\s*(?:(?P<sign>[!(),])|(?P<word>[^\s!(),]+))")
_DATABASE = "postgresql"


def matches_database(definition: str | None) -> bool:
    """Return True if a ``dbms`` attribute includes PostgreSQL; ``"!oracle"`` excludes one."""
    names = [name.strip().lower() for name in (definition or "").split(",") if name.strip()]
    if not names or "all" in names:
        return True
    if "none" in names or f"!{_DATABASE}" in names:
        return False
    wanted = [name for name in names if not name.startswith("!")]
    return not wanted or _DATABASE in wanted


def matches_expression(expression: str, names: Collection[str]) -> bool:
    """Return True if names satisfy an expression: ``and``, ``or`` or a comma, ``!``, parentheses.

    Raises:
        ValueError: It is no such expression.
    """
    if not expression.strip():
        return True
    return _Expression(expression, frozenset(name.lower() for name in names)).evaluate()


class _Expression:
    """A parser that computes what it reads."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._tokens = [found["sign"] or found["word"].lower() for found in _TOKEN.finditer(text.strip())]
        self._names = names

    def evaluate(self) -> bool:
        value = self._read_any()
        if self._tokens:
            raise ValueError(f"{self._tokens[0]!r} is unexpected")
        return value

    def _read_any(self) -> bool:
        value = self._read_all()
        while self._tokens and self._tokens[0] in ("or", ","):
            self._tokens.pop(0)
            value = self._read_all() or value
        return value

    def _read_all(self) -> bool:
        value = self._read_one()
        while self._tokens and self._tokens[0] == "and":
            self._tokens.pop(0)
            value = self._read_one() and value
        return value

    def _read_one(self) -> bool:
        if not self._tokens:
            raise ValueError("it ends too early")
        token = self._tokens.pop(0)
        if token in ("!", "not"):
            return not self._read_one()
        if token == "(":
            value = self._read_any()
            if not self._tokens or self._tokens.pop(0) != ")":
                raise ValueError("a parenthesis is not closed")
            return value
        if token in (")", ",", "and", "or"):
            raise ValueError(f"{token!r} is unexpected")
        # An @ before a context only matters if no context is chosen.
        return token.removeprefix("@") in self._names
