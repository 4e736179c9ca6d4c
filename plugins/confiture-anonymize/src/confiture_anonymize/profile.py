"""Define a profile: what becomes of each column in a copy for one environment."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from attrs import Factory, field, frozen

from confiture.plugins.kit import TableReader
from confiture_anonymize.source_schema import Column, Table

KEEP = "keep"
DEFAULT_DOMAIN = "default"


@frozen
class ColumnRule:
    """What becomes of the columns that a pattern matches.

    Attributes:
        pattern: ``table.column`` or ``schema.table.column``; ``*`` stands for anything.
        strategy: The name of the strategy; ``keep`` to copy the values as they are.
        options: The strategy's options, to be read by the strategy.
        domain: The identity domain: columns of one domain get the same pseudonym for the same value.
        when: A condition in SQL on the row's columns; where it is not true, the value is kept.
        reason: Why values are kept; ``None`` if none is.
    """

    pattern: str
    strategy: str
    options: TableReader = field(repr=False)
    domain: str = DEFAULT_DOMAIN
    when: str | None = None
    reason: str | None = None

    def matches(self, table: Table, column: Column) -> bool:
        """Return True if the pattern names this column."""
        return match_parts(self.pattern, (table.schema, table.name, column.name))

    @property
    def rank(self) -> tuple[bool, int]:
        """What decides between two rules that match: an exact name, then the longer pattern."""
        return "*" not in self.pattern, len(self.pattern.replace("*", ""))


@frozen
class Profile:
    """What becomes of each column in a copy.

    Attributes:
        name: The environment: ``"qa"``.
        rules: By pattern; those of the profile itself before those that it extends.
        skip: Tables whose rows are not copied, as patterns.
        quasi_identifiers: By table, the columns that together must not single out fewer than ``k`` rows.
        k: The smallest group of rows with the same quasi-identifiers.
        reader: Its table of the configuration, for messages that name file and line.
    """

    name: str
    rules: tuple[ColumnRule, ...] = ()
    skip: tuple[str, ...] = ()
    quasi_identifiers: Mapping[str, tuple[str, ...]] = Factory(dict)
    k: int = 2
    reader: TableReader = field(default=TableReader({}, {}), repr=False, eq=False)

    def find_rule(self, table: Table, column: Column) -> ColumnRule | None:
        """Return the rule of a column; ``None`` if it is not classified."""
        matching = [rule for rule in self.rules if rule.matches(table, column)]
        # max() returns the first of equals: the profile's own rule before one that it extends.
        return max(matching, key=lambda rule: rule.rank, default=None)

    def skips(self, table: Table) -> bool:
        """Return True if the rows of a table are not copied."""
        return any(match_parts(pattern, table.identity) for pattern in self.skip)


def match_parts(pattern: str, names: tuple[str, ...]) -> bool:
    """Return True if a dotted pattern names an object; the schema may be left out."""
    parts = pattern.split(".")
    return len(parts) in (len(names), len(names) - 1) and all(
        fnmatchcase(name, part) for name, part in zip(reversed(names), reversed(parts), strict=False)
    )
