"""The rules that confiture brings, as a plugin would."""

from __future__ import annotations

from confiture.plugins.spec import hookimpl
from confiture.rules import (
    columns,
    compatibility,
    constraints,
    holding,
    indexes,
    objects,
    own,
    partitions,
    style,
    types,
)
from confiture.rules.rule import Rule

_HOMES = (indexes, columns, types, constraints, partitions, objects, holding, compatibility, style, own)


@hookimpl
def rules() -> list[Rule]:
    """Return the built-in rules, in the order of the documentation."""
    return [rule for home in _HOMES for rule in home.RULES]
