"""Define what a strategy is, and find those that packages bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal

from attrs import Factory, frozen

from confiture.plugins.kit import TableReader, did_you_mean
from confiture_anonymize.errors import ProfileFault
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.source_schema import Column, Table, quote

ENTRY_POINTS = "confiture.anonymize_strategies"
"""The entry points of packages that bring strategies: a name, and a :class:`Strategy`."""

Promise = Literal["nowhere", "changed", "other"]
"""What a strategy promises of the original values: no value is left anywhere in the copy; no row has its
own; or no more than that the column as a whole is another."""


@frozen
class Mask:
    """What becomes of the values of one column: SQL, and perhaps a function of what that returns.

    Attributes:
        sql: The expression that the source evaluates.
        function: Turns the text of each value that is not NULL; ``None``: ``sql`` is the result.
        settings: Parameters that the expression reads, to be set in the session.
        promise: What it promises of the original values, if it is not what the strategy does.
        constant: The text that every value becomes; ``None`` if it is not always the same.
        distinct: True if it promises that different values stay different.
        moves: True if a row gets the value of another row.
    """

    sql: str
    function: Callable[[str], str] | None = None
    settings: Mapping[str, str] = Factory(dict)
    promise: Promise | None = None
    constant: str | None = None
    distinct: bool = False
    moves: bool = False


@frozen
class Masking:
    """One column to be masked, as a strategy gets it.

    Attributes:
        table: Its table.
        column: The column, as short and as unique as any that must agree with it.
        domain: The identity domain.
        options: The rule's options.
        key: The secret.
        peers: The names of the columns that must agree, for messages; empty if it is alone.
    """

    table: Table
    column: Column
    domain: str
    options: TableReader
    key: Key
    peers: str = ""

    @property
    def value_sql(self) -> str:
        """The value as text, for a keyed hash: equal values are equal texts."""
        name = quote(self.column.name)
        # 'A' and 'a' are one value of citext, and a foreign key joins them.
        return f"pg_catalog.lower({name}::text)" if self.column.base_type == "citext" else f"{name}::text"

    def refuse(self, reason: str, *, hint: str) -> ProfileFault:
        """Return the fault of a strategy that does not fit the column, for the caller to raise."""
        where = f"{self.table.label}.{self.column.name}"
        peers = f" (what fits must fit all of {self.peers})" if self.peers else ""
        return ProfileFault(f"{self.options.label}: {where} ({self.column.type}) {reason}{peers}", hint=hint)


@frozen
class Strategy:
    """One way to mask a column.

    Attributes:
        name: As a profile writes it.
        sorts: What sorts of columns it fits; empty: all.
        compile: Returns the mask of a column, or raises a ``ProfileFault`` if it does not fit.
        options: Its options, and what each means.
        promise: What it promises of the original values.
        keeps_unique: True if different values stay different.
    """

    name: str
    sorts: frozenset[str]
    compile: Callable[[Masking], Mask]
    options: Mapping[str, str] = Factory(dict)
    promise: Promise = "nowhere"
    keeps_unique: bool = False


@cache
def load_strategies() -> Mapping[str, Strategy]:
    """Return all strategies by name: ours, and those of installed packages.

    Raises:
        ProfileFault: A package's strategy cannot be loaded.
    """
    from confiture_anonymize.builtin_strategies import STRATEGIES

    found = {strategy.name: strategy for strategy in STRATEGIES}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            loaded: Any = point.load()
        except Exception as error:
            raise ProfileFault(f"the strategy {point.name!r} cannot be loaded: {error}") from error
        if not isinstance(loaded, Strategy) or loaded.name in found:
            why = "there is one of this name" if isinstance(loaded, Strategy) else "it is no Strategy"
            raise ProfileFault(f"the strategy {point.name!r} of {point.value} cannot be used: {why}")
        found[loaded.name] = loaded
    return found


def find_strategy(name: str, options: TableReader) -> Strategy:
    """Return a strategy by name, once its options are checked.

    Raises:
        ProfileFault: There is none of this name, or it has no such option.
    """
    known = load_strategies()
    if name not in known:
        hint = did_you_mean(name, known) or f"the strategies are keep, {', '.join(sorted(known))}"
        raise ProfileFault(f"{options.label}: there is no strategy {name!r}", hint=hint)
    strategy = known[name]
    TableReader(
        options.values,
        strategy.options,
        label=options.label,
        locate=options.locate,
        path=options.path,
        fault=ProfileFault,
    ).check_keys(also=("domain", "when", "reason"))
    return strategy
