"""Whether a table here has the shape that it has in production, and whether the servers are alike."""

from __future__ import annotations

import math

from attrs import frozen

from confiture.estimate.statistics import Relation, Setting, Statistics
from confiture.estimate.work_classes import Classed

_ALIKE = 1.5
"""Sizes a row that differ by no more are the same shape."""
_SOME_TOAST_BYTES = 50.0
_SPEED_ALIKE = 1.15
_DECISIVE = (
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
_COPY = "rehearse on a copy of production's schema with a sample of its rows"


def difference(its: Classed, name: str, here: Statistics, there: Statistics) -> Unknown | None:
    """Return why timings of this relation here say nothing of production; ``None`` where they do."""
    ours, theirs = here.relations[name], there.relations[name]
    if (ours.kind == "partitioned") != (theirs.kind == "partitioned"):
        where = "production" if theirs.kind == "partitioned" else "this database"
        return Unknown(f"{name} is partitioned in {where} only", _COPY)
    return (
        _columns(name, ours, theirs)
        or _triggers(its, name, here, there)
        or (_indexes(name, ours, theirs) if its.work in ("rewrite", "dml") else None)
        or _per_row(name, here, there)
    )


def _columns(name: str, ours: Relation, theirs: Relation) -> Unknown | None:
    mine, others = ({(each.name, each.type) for each in side.columns} for side in (ours, theirs))
    if mine == others:
        return None
    differing = sorted({column for column, _ in mine ^ others})
    return Unknown(f"{name} has other columns in production: {', '.join(differing)}", _COPY)


def _triggers(its: Classed, name: str, here: Statistics, there: Statistics) -> Unknown | None:
    """Name a trigger that runs for each row: what it does is not known."""
    for side in (there, here):
        for leaf in (side.relations[name], *side.leaves(name)):
            for each in leaf.triggers:
                if each.per_row and each.enabled and set(each.events) & set(its.events):
                    return Unknown(
                        f"the trigger {each.name} of {name} runs for each row",
                        "time it on a copy of production, or disable the trigger for this statement",
                    )
    return None


def _indexes(name: str, ours: Relation, theirs: Relation) -> Unknown | None:
    mine, others = ({each.definition: each.name for each in side.indexes} for side in (ours, theirs))
    if mine.keys() == others.keys():
        return None
    names = sorted((mine | others)[each] for each in mine.keys() ^ others.keys())
    return Unknown(
        f"{name} has other indexes in production: {', '.join(names)}",
        "create the indexes here that production has, and no others, then rehearse again",
    )


def _per_row(name: str, here: Statistics, there: Statistics) -> Unknown | None:
    rows = [side.rows(name) or 0.0 for side in (here, there)]
    if not all(rows):
        return None
    toast = [sum(leaf.toast_bytes for leaf in side.leaves(name)) for side in (here, there)]
    toast_a_row = [each / count for each, count in zip(toast, rows, strict=True)]
    if max(toast_a_row) > _SOME_TOAST_BYTES and not _alike(*toast_a_row):
        mine, others = (f"{each:,.0f}" for each in toast_a_row)
        return Unknown(f"{name} keeps {others} bytes a row in TOAST in production, {mine} here", _COPY)
    pages_a_row = [(side.pages(name) or 0.0) / count for side, count in zip((here, there), rows, strict=True)]
    # A page more or less says nothing of a table that has few.
    if min(side.pages(name) or 0.0 for side in (here, there)) > 10 and not _alike(*pages_a_row):
        return Unknown(
            f"the rows of {name} take {pages_a_row[1] / pages_a_row[0]:.1f} times the pages in production",
            _COPY,
        )
    return None


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= _ALIKE * min(one, other)


def pages_fit(name: str, side: Statistics) -> bool:
    """Whether a table fits into that server's shared buffers; where these are not known, it is said to."""
    buffers = side.settings.get("shared_buffers")
    if not isinstance(buffers, int | float):
        return True
    return (side.pages(name) or 0.0) * side.server.block_bytes <= buffers


def same_server(here: Statistics, there: Statistics) -> bool:
    """Whether version, settings and speed are alike enough to be one host's."""
    if here.server.version.split(".")[0] != there.server.version.split(".")[0]:
        return False
    speeds = sorted((here.probe.ns_per_row, there.probe.ns_per_row))
    if not speeds[0] or speeds[1] > _SPEED_ALIKE * speeds[0]:
        return False
    return all(_setting(here, name) == _setting(there, name) for name in _DECISIVE)


def _setting(side: Statistics, name: str) -> Setting | None:
    return side.settings.get(name)


@frozen
class Unknown:
    """No estimate.

    Attributes:
        reason: Why.
        advice: What would make it known.
    """

    reason: str
    advice: str


def too_few(name: str, here: float, needed: float) -> Unknown:
    """Too few rows to measure anything that grows with them."""
    return Unknown(
        f"{name} has {here:,.0f} rows here, too few to tell how it grows", _rehearse_on(name, here, needed)
    )


def too_far(name: str, here: float, there: float, needed: float) -> Unknown:
    """Production is too many times larger."""
    times = "it is empty here" if not here else f"{there / here:,.0f} times those here"
    return Unknown(f"{name} has {there:,.0f} rows in production, {times}", _rehearse_on(name, here, needed))


def too_quick(name: str, here: float, ms: float, needed_ms: float) -> Unknown:
    """It took too little to be measured."""
    return Unknown(
        f"it took {ms:.1f} ms here, too little to tell how it grows",
        _rehearse_on(name, here, 1.5 * here * needed_ms / ms),
    )


def _rehearse_on(name: str, here: float, needed: float) -> str:
    return f"rehearse on at least {_rounded_up(needed):,} rows of {name}; this database has {here:,.0f}"


def _rounded_up(rows: float) -> int:
    """Return a round number that is no less."""
    unit: int = 10 ** max(math.floor(math.log10(max(rows, 1))) - 1, 0)
    return math.ceil(rows / unit) * unit
