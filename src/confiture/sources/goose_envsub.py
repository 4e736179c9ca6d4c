"""Substitute variables as goose does between ``ENVSUB ON`` and ``ENVSUB OFF``.

The forms are those of https://github.com/mfridman/interpolate: ``${NAME}``, ``$NAME``, ``${NAME:-default}``,
``${NAME-default}`` and ``${NAME?message}``. goose takes the values from the environment, and an empty one if
there is none; here they come from the configuration, and a missing one is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from confiture.sql.position import SourceFile
from confiture.sql.variables import build_missing_fault, get_value

# A default may contain variables, but no further braces. `$$` and `$tag$` quote a body.
_VARIABLE = re.compile(
    r"""
    (?P<escaped>\\\$)
  | \$\{(?P<name>[A-Za-z][A-Za-z0-9_]*)
        (?P<operator>:?-|\?)?(?P<word>(?:[^{}$]|\$\{[^{}]*\}|\$(?!\{))*)\}
  | (?<![\w$])\$(?P<bare>[A-Za-z][A-Za-z0-9_]*)(?![\w$])
  | (?P<unknown>\$\{[^}\n]*\}?)
    """,
    re.VERBOSE,
)


def substitute_variables(source: SourceFile, start: int, end: int, variables: Mapping[str, str]) -> str:
    """Return a part of a file with the values of its variables, strings and comments included.

    Raises:
        MigrationFault: A variable has no value and no default, or is written in a form that is not supported.
    """

    def replace(text: str, offset: int) -> str:
        return _VARIABLE.sub(lambda found: substitute(found, offset + found.start()), text)

    def substitute(found: re.Match[str], at: int) -> str:
        if found["escaped"]:
            return "$"
        if found["unknown"] or (found["word"] and not found["operator"]):
            raise source.build_fault(
                f"{found[0]} is no variable that can be substituted",
                at,
                hint="write ${NAME} or ${NAME:-default}, or -- +goose ENVSUB OFF above it",
            )
        name = found["name"] or found["bare"]
        value = variables.get(name)
        if found["operator"] in ("-", ":-") and (value is None or (not value and found["operator"] == ":-")):
            return replace(found["word"], at + found.start("word") - found.start())
        if value is None:
            raise build_missing_fault(source, found[0], at, [name])
        return get_value(source, variables, name, found[0], at)

    return replace(source.text[start:end], start)
