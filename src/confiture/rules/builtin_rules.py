"""Provide the built-in rules through the same hook that plugins use."""

from __future__ import annotations

from confiture.hooks.spec import hookimpl
from confiture.rules import (
    columns,
    compatibility,
    constraints,
    indexes,
    lock_duration,
    objects,
    partitions,
    schema_cqrs,
    schema_names,
    schema_refills,
    schema_structure,
    schema_tenancy,
    style,
    suppressions,
    types,
)
from confiture.rules.rule import Rule

# `confiture rules` and docs/rules.md list the rules in this order.
_MODULES = (
    indexes,
    columns,
    types,
    constraints,
    partitions,
    objects,
    lock_duration,
    compatibility,
    style,
    suppressions,
    schema_structure,
    schema_names,
    schema_tenancy,
    schema_cqrs,
    schema_refills,
)


@hookimpl
def rules() -> list[Rule]:
    """Return the built-in rules, in the order of the documentation."""
    return [rule for module in _MODULES for rule in module.RULES]
