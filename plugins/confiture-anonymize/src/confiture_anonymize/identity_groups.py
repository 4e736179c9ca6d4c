"""Find the columns that must agree about what a value becomes, and what has to fit all of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from confiture_anonymize.profile import DEFAULT_DOMAIN, KEEP, ColumnRule, Profile
from confiture_anonymize.source_schema import Column, Table

_Name = tuple[str, str, str]


@frozen
class IdentityGroup:
    """Columns that get the same masks for the same values: what holds for one of them, holds for all.

    Attributes:
        names: Of the columns, ``public.w_customers.email``.
        max_chars: What fits the shortest; ``None``: any text.
        unique: True if one of them is unique.
    """

    names: tuple[str, ...]
    max_chars: int | None
    unique: bool

    def tighten(self, column: Column) -> Column:
        """Return a column with the limits of all."""
        return evolve(column, max_chars=self.max_chars, unique=self.unique)


@frozen
class _Forest:
    """Sets of columns, joined step by step."""

    parents: dict[_Name, _Name] = field(factory=dict)

    def find(self, name: _Name) -> _Name:
        while (parent := self.parents.setdefault(name, name)) != name:
            name = parent
        return name

    def join(self, one: _Name, other: _Name) -> None:
        self.parents[self.find(one)] = self.find(other)


def find_groups(tables: Sequence[Table], profile: Profile) -> Mapping[_Name, IdentityGroup]:
    """Return the group of each column that is masked.

    Columns belong together if they are masked by the same strategy with the same options, and have the same
    domain and one name, or a domain that the profile names, or a foreign key between them.
    """
    columns: dict[_Name, tuple[Column, ColumnRule]] = {}
    for table in tables:
        for column in table.columns if not profile.skips(table) else ():
            rule = profile.find_rule(table, column)
            if rule is not None and rule.strategy != KEEP:
                columns[*table.identity, column.name] = column, rule
    forest = _Forest()
    first: dict[object, _Name] = {}
    for name, (column, rule) in columns.items():
        named = rule.domain if rule.domain != DEFAULT_DOMAIN else f"{DEFAULT_DOMAIN} {column.name}"
        forest.join(name, first.setdefault((named, *_describe(column, rule)), name))
    for one, other in _list_references(tables):
        if one in columns and other in columns and _describe(*columns[one]) == _describe(*columns[other]):
            forest.join(one, other)
    return _build_groups(columns, forest)


def _build_groups(
    columns: Mapping[_Name, tuple[Column, ColumnRule]], forest: _Forest
) -> dict[_Name, IdentityGroup]:
    members: defaultdict[_Name, list[_Name]] = defaultdict(list)
    for name in columns:
        members[forest.find(name)].append(name)
    groups: dict[_Name, IdentityGroup] = {}
    for names in members.values():
        rooms = [columns[name][0].max_chars for name in names]
        room = min((chars for chars in rooms if chars is not None), default=None)
        unique = any(columns[name][0].unique for name in names)
        group = IdentityGroup(tuple(".".join(name) for name in names), room, unique)
        groups |= dict.fromkeys(names, group)
    return groups


def _list_references(tables: Sequence[Table]) -> list[tuple[_Name, _Name]]:
    return [
        ((*table.identity, ours), (*key.target, theirs))
        for table in tables
        for key in table.foreign_keys
        for ours, theirs in zip(key.columns, key.target_columns, strict=True)
    ]


def _describe(column: Column, rule: ColumnRule) -> tuple[object, ...]:
    options = json.dumps(dict(rule.options.values), sort_keys=True, default=str)
    return rule.strategy, rule.domain, rule.when, options, column.sort
