"""The rules that confiture brings, as a plugin would."""

from __future__ import annotations

from confiture.hooks.spec import hookimpl
from confiture.rules import columns, compatibility, constraints, indexes, objects, partitions, style, types
from confiture.rules import lock_duration as holding
from confiture.rules import suppressions as own
from confiture.rules.rule import Rule

_HOMES = (indexes, columns, types, constraints, partitions, objects, holding, compatibility, style, own)


@hookimpl
def rules() -> list[Rule]:
    """Return the built-in rules, in the order of the documentation."""
    return [rule for home in _HOMES for rule in home.RULES]
