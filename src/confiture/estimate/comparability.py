"""Whether a table here has the shape that it has in production, and whether the servers are alike."""

from __future__ import annotations

import math

from attrs import frozen

from confiture.estimate.statistics import RelationStatistics, SettingValue, Statistics
from confiture.estimate.work_classes import StatementClass

_ALIKE_RATIO = 1.5
"""Sizes a row that differ by no more are the same shape."""
_SOME_TOAST_BYTES = 50.0
_ALIKE_SPEED_RATIO = 1.15
_DECISIVE_SETTINGS = (
    "shared_buffers",
    "maintenance_work_mem",
    "work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers_per_gather",
    "wal_level",
    "full_page_writes",
    "fsync",
    "jit",
)
_COPY_ADVICE = "rehearse on a copy of production's schema with a sample of its rows"


def find_difference(
    statement_class: StatementClass, name: str, here: Statistics, there: Statistics
) -> UnknownEstimate | None:
    """Return why timings of this relation here say nothing of production; ``None`` where they do."""
    ours, theirs = here.relations[name], there.relations[name]
    if (ours.kind == "partitioned") != (theirs.kind == "partitioned"):
        where = "production" if theirs.kind == "partitioned" else "this database"
        return UnknownEstimate(f"{name} is partitioned in {where} only", _COPY_ADVICE)
    return (
        _compare_columns(name, ours, theirs)
        or _find_row_trigger(statement_class, name, here, there)
        or (
            _compare_indexes(name, ours, theirs) if statement_class.work_class in ("rewrite", "dml") else None
        )
        or _compare_row_sizes(name, here, there)
    )


def _compare_columns(
    name: str, ours: RelationStatistics, theirs: RelationStatistics
) -> UnknownEstimate | None:
    mine, others = ({(each.name, each.type) for each in side.columns} for side in (ours, theirs))
    if mine == others:
        return None
    differing = sorted({column for column, _ in mine ^ others})
    return UnknownEstimate(f"{name} has other columns in production: {', '.join(differing)}", _COPY_ADVICE)


def _find_row_trigger(
    statement_class: StatementClass, name: str, here: Statistics, there: Statistics
) -> UnknownEstimate | None:
    """Name a trigger that runs for each row: what it does is not known."""
    for side in (there, here):
        for leaf in (side.relations[name], *side.find_leaves(name)):
            for trigger in leaf.triggers:
                if trigger.per_row and trigger.enabled and set(trigger.events) & set(statement_class.events):
                    return UnknownEstimate(
                        f"the trigger {trigger.name} of {name} runs for each row",
                        "time it on a copy of production, or disable the trigger for this statement",
                    )
    return None


def _compare_indexes(
    name: str, ours: RelationStatistics, theirs: RelationStatistics
) -> UnknownEstimate | None:
    mine, others = ({index.definition: index.name for index in side.indexes} for side in (ours, theirs))
    if mine.keys() == others.keys():
        return None
    names = sorted((mine | others)[each] for each in mine.keys() ^ others.keys())
    return UnknownEstimate(
        f"{name} has other indexes in production: {', '.join(names)}",
        "create the indexes here that production has, and no others, then rehearse again",
    )


def _compare_row_sizes(name: str, here: Statistics, there: Statistics) -> UnknownEstimate | None:
    rows = [side.count_rows(name) or 0.0 for side in (here, there)]
    if not all(rows):
        return None
    toast = [sum(leaf.toast_bytes for leaf in side.find_leaves(name)) for side in (here, there)]
    toast_a_row = [each / count for each, count in zip(toast, rows, strict=True)]
    if max(toast_a_row) > _SOME_TOAST_BYTES and not _are_alike(*toast_a_row):
        mine, others = (f"{each:,.0f}" for each in toast_a_row)
        return UnknownEstimate(
            f"{name} keeps {others} bytes a row in TOAST in production, {mine} here", _COPY_ADVICE
        )
    pages_a_row = [
        (side.count_pages(name) or 0.0) / count for side, count in zip((here, there), rows, strict=True)
    ]
    # A page more or less says nothing of a table that has few.
    if min(side.count_pages(name) or 0.0 for side in (here, there)) > 10 and not _are_alike(*pages_a_row):
        return UnknownEstimate(
            f"the rows of {name} take {pages_a_row[1] / pages_a_row[0]:.1f} times the pages in production",
            _COPY_ADVICE,
        )
    return None


def _are_alike(one: float, other: float) -> bool:
    return max(one, other) <= _ALIKE_RATIO * min(one, other)


def fits_in_buffers(name: str, side: Statistics) -> bool:
    """Whether a table fits into that server's shared buffers; where these are not known, it is said to."""
    buffers = side.settings.get("shared_buffers")
    if not isinstance(buffers, int | float):
        return True
    return (side.count_pages(name) or 0.0) * side.server.block_bytes <= buffers


def is_same_server(here: Statistics, there: Statistics) -> bool:
    """Whether version, settings and speed are alike enough to be one host's."""
    if here.server.version.split(".")[0] != there.server.version.split(".")[0]:
        return False
    speeds = sorted((here.probe.ns_per_row, there.probe.ns_per_row))
    if not speeds[0] or speeds[1] > _ALIKE_SPEED_RATIO * speeds[0]:
        return False
    return all(_read_setting(here, name) == _read_setting(there, name) for name in _DECISIVE_SETTINGS)


def _read_setting(side: Statistics, name: str) -> SettingValue | None:
    return side.settings.get(name)


@frozen
class UnknownEstimate:
    """No estimate.

    Attributes:
        reason: Why.
        advice: What would make it known.
    """

    reason: str
    advice: str


def explain_too_few(name: str, here: float, needed: float) -> UnknownEstimate:
    """Too few rows to measure anything that grows with them."""
    return UnknownEstimate(
        f"{name} has {here:,.0f} rows here, too few to tell how it grows", _advise_rows(name, here, needed)
    )


def explain_too_far(name: str, here: float, there: float, needed: float) -> UnknownEstimate:
    """Production is too many times larger."""
    times = "it is empty here" if not here else f"{there / here:,.0f} times those here"
    return UnknownEstimate(
        f"{name} has {there:,.0f} rows in production, {times}", _advise_rows(name, here, needed)
    )


def explain_too_quick(name: str, here: float, ms: float, needed_ms: float) -> UnknownEstimate:
    """It took too little to be measured."""
    return UnknownEstimate(
        f"it took {ms:.1f} ms here, too little to tell how it grows",
        _advise_rows(name, here, 1.5 * here * needed_ms / ms),
    )


def _advise_rows(name: str, here: float, needed: float) -> str:
    return f"rehearse on at least {_round_up(needed):,} rows of {name}; this database has {here:,.0f}"


def _round_up(rows: float) -> int:
    """Return a round number that is no less."""
    unit: int = 10 ** max(math.floor(math.log10(max(rows, 1))) - 1, 0)
    return math.ceil(rows / unit) * unit
