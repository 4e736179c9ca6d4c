"""Decide if a rehearsed table is comparable with production's, and if both servers are.

*Here* is the database of the rehearsal, *there* is production.
"""

from __future__ import annotations

import math

from attrs import frozen

from confiture.estimate.statistics import RelationStatistics, SettingValue, Statistics
from confiture.estimate.work_classes import StatementClass

_ALIKE_RATIO = 1.5
"""Bytes or pages per row count as equal up to this factor."""
# From this many bytes per row on, TOAST is compared. relpages does not include it, yet it changes the
# time of a rewrite by a factor of 15 to 30.
_SOME_TOAST_BYTES = 50.0
# Probes count as equally fast up to this factor: a smaller difference is taken for noise.
_ALIKE_SPEED_RATIO = 1.15
_DECISIVE_SETTINGS = (
    "shared_buffers",
    "maintenance_work_mem",
    "work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers_per_gather",
    "wal_level",
    "max_wal_size",
    "full_page_writes",
    "fsync",
    "jit",
)
_COPY_ADVICE = "rehearse on a copy of production's schema with a sample of its rows"


def find_difference(
    statement_class: StatementClass, name: str, here: Statistics, there: Statistics
) -> UnknownEstimate | None:
    """Return why timings of this relation here do not apply to production; ``None`` if they do."""
    ours, theirs = here.relations[name], there.relations[name]
    if (ours.kind == "partitioned") != (theirs.kind == "partitioned"):
        where = "production" if theirs.kind == "partitioned" else "this database"
        return UnknownEstimate(f"{name} is partitioned in {where} only", _COPY_ADVICE)
    return (
        _compare_columns(name, ours, theirs)
        or _find_row_trigger(statement_class, name, here, there)
        # Only rewrites and writes maintain the other indexes; scans and index builds do not touch them.
        or (
            _compare_indexes(name, ours, theirs)
            if statement_class.work_class in ("rewrite", "cluster", "dml")
            else None
        )
        or _compare_row_sizes(name, here, there)
    )


def _compare_columns(
    name: str, ours: RelationStatistics, theirs: RelationStatistics
) -> UnknownEstimate | None:
    ours_typed, theirs_typed = (
        {(column.name, column.type) for column in side.columns} for side in (ours, theirs)
    )
    if ours_typed == theirs_typed:
        return None
    differing = sorted({column_name for column_name, _ in ours_typed ^ theirs_typed})
    return UnknownEstimate(
        f"{name} has different columns in production: {', '.join(differing)}", _COPY_ADVICE
    )


def _find_row_trigger(
    statement_class: StatementClass, name: str, here: Statistics, there: Statistics
) -> UnknownEstimate | None:
    """Return an unknown estimate if the statement fires a row trigger: the cost of its code is not known."""
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
    ours_named, theirs_named = (
        {index.definition: index.name for index in side.indexes} for side in (ours, theirs)
    )
    if ours_named.keys() == theirs_named.keys():
        return None
    differing = sorted(
        (ours_named | theirs_named)[definition] for definition in ours_named.keys() ^ theirs_named.keys()
    )
    return UnknownEstimate(
        f"{name} has different indexes in production: {', '.join(differing)}",
        f"give {name} the same indexes here as in production, then rehearse again",
    )


def _compare_row_sizes(name: str, here: Statistics, there: Statistics) -> UnknownEstimate | None:
    rows = [side.count_rows(name) or 0.0 for side in (here, there)]
    if not all(rows):
        return None
    toast = [sum(leaf.toast_bytes for leaf in side.find_leaves(name)) for side in (here, there)]
    toast_per_row = [toast_bytes / count for toast_bytes, count in zip(toast, rows, strict=True)]
    if max(toast_per_row) > _SOME_TOAST_BYTES and not _are_alike(*toast_per_row):
        ours, theirs = (f"{toast_bytes:,.0f}" for toast_bytes in toast_per_row)
        return UnknownEstimate(
            f"{name} has {theirs} bytes per row in TOAST in production, {ours} here", _COPY_ADVICE
        )
    pages_per_row = [
        (side.count_pages(name) or 0.0) / count for side, count in zip((here, there), rows, strict=True)
    ]
    # In a table of a few pages the last, partly filled one distorts the ratio.
    if min(side.count_pages(name) or 0.0 for side in (here, there)) > 10 and not _are_alike(*pages_per_row):
        return UnknownEstimate(
            f"a row of {name} takes {pages_per_row[1] / pages_per_row[0]:.1f} times the pages in production",
            _COPY_ADVICE,
        )
    return None


def _are_alike(first: float, second: float) -> bool:
    return max(first, second) <= _ALIKE_RATIO * min(first, second)


def fits_in_buffers(name: str, side: Statistics) -> bool:
    """Return True if a table fits into that server's shared buffers, or if their size is not known."""
    buffers = side.settings.get("shared_buffers")
    if not isinstance(buffers, int | float):
        return True
    return (side.count_pages(name) or 0.0) * side.server.block_bytes <= buffers


def is_same_server(here: Statistics, there: Statistics) -> bool:
    """Return True if major version, decisive settings and speed are those of the same or an equal server."""
    if here.server.version.split(".")[0] != there.server.version.split(".")[0]:
        return False
    # A probe of zero means that it was not taken: nothing is known about the speed then.
    speeds = sorted((here.probe.ns_per_row, there.probe.ns_per_row))
    if not speeds[0] or speeds[1] > _ALIKE_SPEED_RATIO * speeds[0]:
        return False
    return all(_read_setting(here, name) == _read_setting(there, name) for name in _DECISIVE_SETTINGS)


def _read_setting(side: Statistics, name: str) -> SettingValue | None:
    return side.settings.get(name)


@frozen
class UnknownEstimate:
    """The reason why there is no estimate, and the way to get one.

    Attributes:
        reason: Why it is unknown, as the report shows it.
        advice: The step that would make it known, an instruction.
    """

    reason: str
    advice: str


def explain_too_few(name: str, here: float, needed: float) -> UnknownEstimate:
    """Return the unknown estimate of a table with too few rows to measure how the time grows with them."""
    return UnknownEstimate(
        f"{name} has {here:,.0f} rows here, too few to measure how the time grows",
        _advise_rows(name, here, needed),
    )


def explain_too_far(name: str, here: float, there: float, needed: float) -> UnknownEstimate:
    """Return the unknown estimate of a table that is too many times larger in production."""
    times = "it is empty here" if not here else f"{there / here:,.0f} times as many as here"
    return UnknownEstimate(
        f"{name} has {there:,.0f} rows in production, {times}", _advise_rows(name, here, needed)
    )


def explain_too_quick(name: str, here: float, ms: float, needed_ms: float) -> UnknownEstimate:
    """Return the unknown estimate of a statement that was too fast to measure."""
    return UnknownEstimate(
        f"it took {ms:.1f} ms here, too short to measure how the time grows",
        # As many rows as the time needs if it grows in proportion, and half as many again to be safe.
        _advise_rows(name, here, 1.5 * here * needed_ms / ms),
    )


def _advise_rows(name: str, here: float, needed: float) -> str:
    return f"rehearse on at least {_round_up(needed):,} rows of {name}; this database has {here:,.0f}"


def _round_up(rows: float) -> int:
    """Return the rows rounded up to two significant digits."""
    unit: int = 10 ** max(math.floor(math.log10(max(rows, 1))) - 1, 0)
    return math.ceil(rows / unit) * unit
