"""Describe the effects of a statement or hook: blocks, rewrites, index builds, scans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import frozen

from confiture.escape import escape_control
from confiture.models.report import (
    HookReport,
    IndexBuild,
    Lock,
    MigrationReport,
    Report,
    Spread,
    StatementReport,
)
from confiture.output.format import format_count, format_duration, join_names

Step = StatementReport | HookReport
QUIET_MS = 50.0
_MIN_WAIT_MS = 1.0
_RELATION_NOUNS = {
    "table": "table",
    "index": "index",
    "view": "view",
    "matview": "materialized view",
    "sequence": "sequence",
    "foreign": "foreign table",
    "toast": "TOAST relation",
}


def describe_effects(step: Step) -> list[str]:
    """Return one line per kind of effect that a statement or hook had on relations."""
    lines = describe_blocking(step.locks)
    if isinstance(step, StatementReport):
        lines += [
            *_describe_work(step),
            *_describe_reasons(step),
            *_describe_lock_wait(step),
            *describe_spread(step.spread),
        ]
    return lines


def describe_spread(measured: Spread | None) -> list[str]:
    """Return one line with the spread of repeated rehearsals; none if there was only one."""
    if measured is None:
        return []
    parts = (("took", measured.duration_ms), ("held locks for", measured.held_ms))
    ranges = [
        f"{word} {format_duration(least)} to {format_duration(most)}, median {format_duration(middle)}"
        for word, times in parts
        if times
        for least, middle, most in [times]
    ]
    return [f"of {format_count(measured.runs, 'rehearsal')}: {'; '.join(ranges)}"] if ranges else []


def _describe_reasons(statement: StatementReport) -> list[str]:
    return [
        f"rewritten because {escape_control(why)}: {escape_control(name)}"
        for name, why in statement.reasons.items()
    ]


def describe_blocking(locks: Iterable[Lock]) -> list[str]:
    """Return the access that these locks block; locks of one kind and duration share a line."""
    groups: dict[tuple[str, str], list[Lock]] = {}
    for lock in locks:
        if lock.blocks:
            groups.setdefault((format_blocked(lock.blocks), format_held_time(lock)), []).append(lock)
    lines = [
        f"blocks {what} of {join_names(lock.relation for lock in group)}{long}"
        for (what, long), group in groups.items()
    ]
    return lines + _describe_other_locks([lock for lock in locks if not lock.blocks])


def format_blocked(blocks: Sequence[str]) -> str:
    """Return ``reads and writes``, ``reads``, ``writes`` or ``nothing``."""
    return " and ".join(name for name in ("reads", "writes") if name in blocks) or "nothing"


def format_held_time(lock: Lock) -> str:
    """Return how long a lock was held, if measured, and how it was observed."""
    held = f" for {format_duration(lock.held_ms)}" if lock.held_ms is not None else ""
    if lock.transient:
        return f"{held}, gone before the end"
    return held + {"measured": "", "sampled": " (sampled)", "held-before": " (held before)"}[lock.seen]


def _describe_other_locks(locks: Sequence[Lock]) -> list[str]:
    """Return one line for the locks that block no ``SELECT`` or ``DELETE``."""
    counts = Counter(lock.kind for lock in locks)
    if not counts:
        return []
    if len(locks) == 1:
        return [f"locks {_RELATION_NOUNS[locks[0].kind]} {escape_control(locks[0].relation)}"]
    return [
        f"locks "
        f"{_join_with_and([_format_count(count, _RELATION_NOUNS[kind]) for kind, count in counts.items()])}"
    ]


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} indexes" if noun == "index" and count != 1 else format_count(count, noun)


def _join_with_and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _describe_work(statement: StatementReport) -> list[str]:
    parts = [f"rewrites {join_names(statement.rewrites)}"] if statement.rewrites else []
    parts += _describe_index_builds(statement.index_builds)
    parts += [f"scans {join_names(statement.scans)}"] if statement.scans else []
    return [", ".join(parts)] if parts else []


def _describe_index_builds(builds: Sequence[IndexBuild]) -> list[str]:
    new, again = ([build for build in builds if build.new is new] for new in (True, False))
    parts = []
    if new:
        parts.append(
            f"builds {join_names((build.index for build in new), 3)} on "
            f"{join_names(build.table for build in new)}"
        )
    if again:
        which = escape_control(again[0].index) if len(again) == 1 else _format_count(len(again), "index")
        parts.append(f"rebuilds {which}")
    return parts


def _describe_lock_wait(statement: StatementReport) -> list[str]:
    waited_ms = statement.lock_wait_ms or 0
    return [f"waited {format_duration(waited_ms)} for locks"] if waited_ms >= _MIN_WAIT_MS else []


def is_quiet(statement: StatementReport) -> bool:
    """Return True if a statement was short and took no lock of mode Share or stronger."""
    noticed = statement.locks or statement.rewrites or statement.index_builds or statement.not_rehearsed
    return not noticed and statement.duration_ms < QUIET_MS and (statement.lock_wait_ms or 0) < _MIN_WAIT_MS


@frozen
class RelationBlock:
    """A relation that a migration blocks for other sessions.

    Attributes:
        relation: Its name.
        blocks: ``reads and writes``, ``reads`` or ``writes``.
        held_ms: How long, in milliseconds; ``None`` if not measured.
        long_work: What the migration does to the relation under the lock: ``rewritten``, ``scanned``…, or
            empty.
        migration: The migration that holds the lock.
    """

    relation: str
    blocks: str
    held_ms: float | None
    long_work: str
    migration: MigrationReport

    @property
    def description(self) -> str:
        """The block as a phrase: ``writes of public.orders for 1.2 s while it is scanned``."""
        held = f" for {format_duration(self.held_ms)}" if self.held_ms is not None else ""
        work = f" while it is {self.long_work}" if self.long_work else ""
        return f"{self.blocks} of {escape_control(self.relation)}{held}{work}"


def list_long_blocks(migration: MigrationReport) -> list[RelationBlock]:
    """Return the relations that are rewritten, index-built or scanned while they are blocked."""
    return [_build_block(migration, relation) for relation in migration.long_blocks]


def find_longest_block(report: Report) -> RelationBlock | None:
    """Return the longest block; any long block ranks above all others."""
    found = [
        _build_block(migration, relation)
        for migration in report.migrations
        for relation in dict.fromkeys([*migration.long_blocks, *_list_held_relations(migration)])
    ]
    return max(found, key=lambda block: (bool(block.long_work), block.held_ms or 0), default=None)


def _list_held_relations(migration: MigrationReport) -> list[str]:
    return [lock.relation for lock in list_locks(migration) if lock.blocks and lock.held_ms is not None]


def _build_block(migration: MigrationReport, relation: str) -> RelationBlock:
    locks = [lock for lock in list_locks(migration) if lock.relation == relation and lock.blocks]
    blocks = [block for lock in locks for block in lock.blocks]
    blocks += ["reads"] * (relation in migration.blocks.reads)
    blocks += ["writes"] * (relation in migration.blocks.writes)
    held = [lock.held_ms for lock in locks if lock.held_ms is not None]
    work = _describe_long_work(migration, relation) if relation in migration.long_blocks else ""
    return RelationBlock(
        relation, format_blocked(blocks or ["writes"]), max(held, default=None), work, migration
    )


def _describe_long_work(migration: MigrationReport, relation: str) -> str:
    done = {
        "rewritten": relation in migration.rewrites,
        "index-built": any(build.table == relation for build in migration.index_builds),
        "scanned": relation in migration.scans,
    }
    # A partitioned table itself is not scanned or rewritten: the report lists the work with its partitions.
    return _join_with_and([word for word, true in done.items() if true] or ["worked on"])


def list_locks(migration: MigrationReport) -> list[Lock]:
    """Return all locks that a migration and its statements and hooks list."""
    steps: list[Step] = [*migration.statements, *migration.hooks]
    return [*migration.locks, *(lock for step in steps for lock in step.locks)]
