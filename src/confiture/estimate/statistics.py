"""The statistics that ``confiture stats export`` writes: sizes, shapes and settings, but no row data.

The names of the attributes are the keys of the file, so renaming one changes the file format.
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
    """The version and page size of the server.

    Attributes:
        version: PostgreSQL's version, ``"18.1"``.
        block_bytes: Size of a page in bytes.
    """

    version: str
    block_bytes: int


@frozen
class Index:
    """The shape and size of an index.

    Attributes:
        definition: Its SQL; every constant in it is replaced by a question mark.
        method: The access method: ``btree``, ``gin``, ...
        bytes: Size on disk in bytes.
        unique: True for a unique index.
        partial: True if it has a ``WHERE``.
        expressions: True if it indexes an expression.
    """

    name: str
    definition: str
    method: str
    bytes: int
    unique: bool
    partial: bool
    expressions: bool


@frozen
class ColumnStatistics:
    """A column with the planner's statistics; these are ``None`` if it was never analyzed.

    Attributes:
        width_bytes: Average width of a value in bytes (``pg_stats.avg_width``).
        distinct: Number of distinct values; if negative, the share of the rows that are distinct, negated
            (``pg_stats.n_distinct``).
        null_share: Share of the rows that are null, 0 to 1.
    """

    name: str
    type: str
    width_bytes: int | None
    distinct: float | None
    null_share: float | None


@frozen
class Trigger:
    """A user's trigger; PostgreSQL's internal ones, such as those of foreign keys, are left out.

    Attributes:
        events: Those that fire it: ``run_insert``, ``update``, ``delete``, ``truncate``.
        per_row: True for ``FOR EACH ROW``.
        enabled: False after ``DISABLE TRIGGER``.
    """

    name: str
    events: tuple[str, ...]
    per_row: bool
    enabled: bool


@frozen
class RelationStatistics:
    """A table, a partitioned table or a materialized view.

    Attributes:
        name: Schema-qualified, quoted only if needed.
        parent: The partitioned table of a partition; ``None`` for other relations.
        rows: PostgreSQL's estimate of the rows; ``None`` if it was never analyzed.
        pages: Pages of its main file, without TOAST and indexes.
        toast_bytes: Size of its TOAST table in bytes, with that table's index.
        analyzed_at: Time of the last ANALYZE as text; ``None`` if there was none.
        visible_pages: Pages that VACUUM marked as all-visible; ``None`` in files of earlier versions.
    """

    name: str
    kind: StatisticsKind
    parent: str | None
    rows: float | None
    pages: int
    toast_bytes: int
    analyzed_at: str | None
    indexes: tuple[Index, ...] = ()
    columns: tuple[ColumnStatistics, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    visible_pages: int | None = None


@frozen
class Transactions:
    """The ages of other sessions' transactions, from several samples.

    Attributes:
        sampled_s: Time from the first to the last sample, in seconds.
        ages_s: The age of each transaction in each sample, in seconds, ascending.
        hidden: Number of sessions whose transactions the role may not see.
    """

    sampled_s: float
    ages_s: tuple[float, ...]
    hidden: int


@frozen
class Probe:
    """The speed of the server, measured with a fixed query that reads no table.

    Attributes:
        ns_per_row: Nanoseconds per row of that query, by the server's clock; the fastest of several runs.
        round_trip_ms: Milliseconds of a ``SELECT 1`` by the client's clock; the fastest of several.
    """

    ns_per_row: float
    round_trip_ms: float


@frozen
class Statistics:
    """The content of one export.

    Attributes:
        taken_at: Time of the export.
        settings: By name; memory in bytes, times in milliseconds.
        relations: By schema-qualified name, quoted only if PostgreSQL would.
    """

    taken_at: datetime
    server: ServerFacts
    settings: Mapping[str, SettingValue]
    relations: Mapping[str, RelationStatistics] = field(repr=False)
    transactions: Transactions
    probe: Probe

    def compute_age_days(self, now: datetime | None = None) -> float:
        """Return the age of the export in days."""
        return ((now or datetime.now(UTC)) - self.taken_at).total_seconds() / 86400

    def count_rows(self, name: str) -> float | None:
        """Return the rows of a table with all its partitions; ``None`` if one of them is not known."""
        return self._sum(name, lambda relation: relation.rows)

    def count_pages(self, name: str) -> float | None:
        """Return the pages of a table with all its partitions; ``None`` if there is no such table."""
        return self._sum(name, lambda relation: relation.pages)

    def find_leaves(self, name: str) -> tuple[RelationStatistics, ...]:
        """Return the relations that store a table's rows: the table itself, or all its leaf partitions."""
        relation = self.relations.get(name)
        if relation is None:
            return ()
        if relation.kind != "partitioned":
            return (relation,)
        children = [child.name for child in self.relations.values() if child.parent == name]
        return tuple(leaf for child in children for leaf in self.find_leaves(child))

    def _sum(self, name: str, measure: Any) -> float | None:
        if name not in self.relations:
            return None
        measures = [measure(leaf) for leaf in self.find_leaves(name)]
        return None if None in measures else sum(measures)


def to_json(statistics: Statistics) -> dict[str, Any]:
    """Return statistics as the document of the exported file."""
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
    """Return a warning if the export is at least ``OLD_DAYS`` old, else ``None``."""
    days = statistics.compute_age_days(now)
    if days < OLD_DAYS:
        return None
    return (
        f"{file} is {days:.0f} days old, and production may have grown since; "
        "export again: confiture stats export --url PRODUCTION"
    )
