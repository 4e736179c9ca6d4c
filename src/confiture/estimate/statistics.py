"""Production as ``confiture stats export`` wrote it down: sizes, shapes, settings; no row data.

The field names are the keys of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from attrs import asdict, field, frozen

STATS_VERSION = 1
OLD_DAYS = 7
StatisticsKind = Literal["table", "partitioned", "matview"]
SettingValue = bool | int | float | str


@frozen
class ServerFacts:
    """Which server it is.

    Attributes:
        version: ``"18.1"``.
        block_bytes: Of one page.
    """

    version: str
    block_bytes: int


@frozen
class Index:
    """An index, as it was built.

    Attributes:
        definition: Its SQL; every constant in it is a question mark.
        method: ``btree``, ``gin``, ...
        bytes: On disk.
    """

    name: str
    definition: str
    method: str
    bytes: int
    unique: bool
    partial: bool
    expressions: bool


@frozen
class Column:
    """A column, and what the planner knows of it; ``None`` where it was never analysed.

    Attributes:
        width_bytes: Of a value on average.
        distinct: How many values; below zero the negated share of the rows.
        null_share: Of the rows.
    """

    name: str
    type: str
    width_bytes: int | None
    distinct: float | None
    null_share: float | None


@frozen
class Trigger:
    """A trigger that somebody wrote; those of foreign keys are not listed.

    Attributes:
        events: ``insert``, ``update``, ``delete``, ``truncate``.
    """

    name: str
    events: tuple[str, ...]
    per_row: bool
    enabled: bool


@frozen
class RelationStatistics:
    """A table or a materialised view.

    Attributes:
        parent: Of which it is a partition.
        rows: As PostgreSQL estimates them; ``None`` where it was never analysed.
        pages: Of its own file.
        toast_bytes: What its long values take beside it, their index included.
        analyzed_at: When its statistics were last made, as text.
    """

    name: str
    kind: StatisticsKind
    parent: str | None
    rows: float | None
    pages: int
    toast_bytes: int
    analyzed_at: str | None
    indexes: tuple[Index, ...] = ()
    columns: tuple[Column, ...] = ()
    triggers: tuple[Trigger, ...] = ()


@frozen
class Transactions:
    """How long transactions of others had been running, looked at again and again.

    Attributes:
        sampled_s: For how long.
        ages_s: Of every transaction seen, each time it was seen.
        hidden: Sessions whose transactions the role may not see.
    """

    sampled_s: float
    ages_s: tuple[float, ...]
    hidden: int


@frozen
class Probe:
    """How fast the server computed: a fixed query that reads no table.

    Attributes:
        ns_per_row: The fastest of several.
        round_trip_ms: Of an empty query; the fastest too.
    """

    ns_per_row: float
    round_trip_ms: float


@frozen
class Statistics:
    """All of one export.

    Attributes:
        settings: By name; memory in bytes, times in milliseconds.
        relations: By name, schema-qualified, quoted only where PostgreSQL would.
    """

    taken_at: datetime
    server: ServerFacts
    settings: Mapping[str, SettingValue]
    relations: Mapping[str, RelationStatistics] = field(repr=False)
    transactions: Transactions
    probe: Probe

    def compute_age_days(self, now: datetime | None = None) -> float:
        """Return how old it is."""
        return ((now or datetime.now(UTC)) - self.taken_at).total_seconds() / 86400

    def count_rows(self, name: str) -> float | None:
        """Return the rows of a table, of all its partitions where it has some; ``None`` where not known."""
        return self._sum(name, lambda relation: relation.rows)

    def count_pages(self, name: str) -> float | None:
        """Return the pages of a table, of all its partitions where it has some."""
        return self._sum(name, lambda relation: relation.pages)

    def find_leaves(self, name: str) -> tuple[RelationStatistics, ...]:
        """Return the relations that hold a table's rows: itself, or its partitions'."""
        relation = self.relations.get(name)
        if relation is None:
            return ()
        if relation.kind != "partitioned":
            return (relation,)
        children = [each.name for each in self.relations.values() if each.parent == name]
        return tuple(leaf for child in children for leaf in self.find_leaves(child))

    def _sum(self, name: str, measure: Any) -> float | None:
        if name not in self.relations:
            return None
        found = [measure(leaf) for leaf in self.find_leaves(name)]
        return None if None in found else sum(found)


def to_json(statistics: Statistics) -> dict[str, Any]:
    """Return statistics as the file has them."""
    return {
        "stats_version": STATS_VERSION,
        "taken_at": statistics.taken_at.astimezone(UTC).isoformat(timespec="seconds"),
        "server": asdict(statistics.server),
        "settings": dict(statistics.settings),
        "relations": [asdict(relation) for relation in statistics.relations.values()],
        "transactions": asdict(statistics.transactions),
        "probe": asdict(statistics.probe),
    }


def describe_age(statistics: Statistics, file: str, now: datetime | None = None) -> str | None:
    """Return what to say of a file that is no longer new, ``None`` of a new one."""
    days = statistics.compute_age_days(now)
    if days < OLD_DAYS:
        return None
    return (
        f"{file} is {days:.0f} days old, and production may have grown since: "
        "confiture stats export --url PRODUCTION writes a new one"
    )
