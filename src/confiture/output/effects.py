"""What a statement or a hook does to relations, in words: blocks, rewrites, builds, scans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import frozen

from confiture.escape import inert
from confiture.models.report import (
    HookReport,
    IndexBuild,
    Lock,
    MigrationReport,
    Report,
    Spread,
    StatementReport,
)
from confiture.output.format import duration, plural, some

Step = StatementReport | HookReport
QUIET_MS = 50.0
_WAITED_MS = 1.0
_NOUNS = {
    "table": "table",
    "index": "index",
    "view": "view",
    "matview": "materialized view",
    "sequence": "sequence",
    "foreign": "foreign table",
    "toast": "TOAST relation",
}


def effects(step: Step) -> list[str]:
    """Return a line for each kind of thing that a statement or a hook does to relations."""
    lines = blocking(step.locks)
    if isinstance(step, StatementReport):
        lines += [*_work(step), *_reasons(step), *_waiting(step), *spread(step.spread)]
    return lines


def spread(several: Spread | None) -> list[str]:
    """Return in one line how several rehearsals differ, where there were several."""
    if several is None:
        return []
    parts = (("took", several.duration_ms), ("held locks for", several.held_ms))
    said = [
        f"{word} {duration(least)} to {duration(most)}, median {duration(middle)}"
        for word, times in parts
        if times
        for least, middle, most in [times]
    ]
    return [f"of {plural(several.runs, 'rehearsal')}: {'; '.join(said)}"] if said else []


def _reasons(statement: StatementReport) -> list[str]:
    return [f"rewritten because {inert(why)}: {inert(name)}" for name, why in statement.reasons.items()]


def blocking(locks: Iterable[Lock]) -> list[str]:
    """Return what waits for these locks, those of one kind and time on one line."""
    groups: dict[tuple[str, str], list[Lock]] = {}
    for lock in locks:
        if lock.blocks:
            groups.setdefault((blocked(lock.blocks), how_long(lock)), []).append(lock)
    lines = [
        f"blocks {what} of {some(lock.relation for lock in group)}{long}"
        for (what, long), group in groups.items()
    ]
    return lines + _others([lock for lock in locks if not lock.blocks])


def blocked(blocks: Sequence[str]) -> str:
    """Return ``reads and writes``, ``reads``, ``writes`` or ``nothing``."""
    return " and ".join(each for each in ("reads", "writes") if each in blocks) or "nothing"


def how_long(lock: Lock) -> str:
    """Return how long a lock is held, as far as that is known, and what is special about it."""
    held = f" for {duration(lock.held_ms)}" if lock.held_ms is not None else ""
    if lock.transient:
        return f"{held}, gone before the end"
    return held + {"measured": "", "sampled": " (sampled)", "held-before": " (held before)"}[lock.seen]


def _others(locks: Sequence[Lock]) -> list[str]:
    """Return in one line what is locked and makes no ``SELECT`` or ``DELETE`` wait."""
    counts = Counter(lock.kind for lock in locks)
    if not counts:
        return []
    if len(locks) == 1:
        return [f"locks {_NOUNS[locks[0].kind]} {inert(locks[0].relation)}"]
    return [f"locks {_and([_counted(count, _NOUNS[kind]) for kind, count in counts.items()])}"]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} indexes" if noun == "index" and count != 1 else plural(count, noun)


def _and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _work(statement: StatementReport) -> list[str]:
    parts = [f"rewrites {some(statement.rewrites)}"] if statement.rewrites else []
    parts += _builds(statement.index_builds)
    parts += [f"scans {some(statement.scans)}"] if statement.scans else []
    return [", ".join(parts)] if parts else []


def _builds(builds: Sequence[IndexBuild]) -> list[str]:
    new, again = ([each for each in builds if each.new is new] for new in (True, False))
    parts = []
    if new:
        parts.append(f"builds {some((each.index for each in new), 3)} on {some(each.table for each in new)}")
    if again:
        which = inert(again[0].index) if len(again) == 1 else _counted(len(again), "index")
        parts.append(f"rebuilds {which}")
    return parts


def _waiting(statement: StatementReport) -> list[str]:
    waited_ms = statement.lock_wait_ms or 0
    return [f"waited {duration(waited_ms)} for locks"] if waited_ms >= _WAITED_MS else []


def is_quiet(statement: StatementReport) -> bool:
    """Return whether nobody would notice a statement: short, and no lock of Share or stronger."""
    noticed = statement.locks or statement.rewrites or statement.index_builds or statement.not_rehearsed
    return not noticed and statement.duration_ms < QUIET_MS and (statement.lock_wait_ms or 0) < _WAITED_MS


@frozen
class Block:
    """A relation that others would wait for.

    Attributes:
        relation: Its name.
        blocks: ``reads and writes``, ``reads`` or ``writes``.
        held_ms: For how long, in milliseconds; ``None`` where not measured.
        meanwhile: What happens to it under the lock that takes long: ``rewritten``, ``scanned``…, else none.
        migration: The one that holds the lock.
    """

    relation: str
    blocks: str
    held_ms: float | None
    meanwhile: str
    migration: MigrationReport

    @property
    def words(self) -> str:
        """Return it in words."""
        held = f" for {duration(self.held_ms)}" if self.held_ms is not None else ""
        meanwhile = f" while it is {self.meanwhile}" if self.meanwhile else ""
        return f"{self.blocks} of {inert(self.relation)}{held}{meanwhile}"


def long_blocks(migration: MigrationReport) -> list[Block]:
    """Return the relations that are rewritten, index-built or scanned while others wait for them."""
    return [_block(migration, relation) for relation in migration.long_blocks]


def longest_block(report: Report) -> Block | None:
    """Return what would be waited for longest, a long block before any other."""
    found = [
        _block(migration, relation)
        for migration in report.migrations
        for relation in dict.fromkeys([*migration.long_blocks, *_held(migration)])
    ]
    return max(found, key=lambda each: (bool(each.meanwhile), each.held_ms or 0), default=None)


def _held(migration: MigrationReport) -> list[str]:
    return [lock.relation for lock in every_lock(migration) if lock.blocks and lock.held_ms is not None]


def _block(migration: MigrationReport, relation: str) -> Block:
    locks = [lock for lock in every_lock(migration) if lock.relation == relation and lock.blocks]
    blocks = [each for lock in locks for each in lock.blocks]
    blocks += ["reads"] * (relation in migration.blocks.reads)
    blocks += ["writes"] * (relation in migration.blocks.writes)
    held = [lock.held_ms for lock in locks if lock.held_ms is not None]
    meanwhile = _meanwhile(migration, relation) if relation in migration.long_blocks else ""
    # A partitioned table's work is its partitions': it is blocked by the same lock and nothing is read of it.
    return Block(relation, blocked(blocks or ["writes"]), max(held, default=None), meanwhile, migration)


def _meanwhile(migration: MigrationReport, relation: str) -> str:
    done = {
        "rewritten": relation in migration.rewrites,
        "index-built": any(each.table == relation for each in migration.index_builds),
        "scanned": relation in migration.scans,
    }
    return _and([word for word, true in done.items() if true] or ["worked on"])


def every_lock(migration: MigrationReport) -> list[Lock]:
    """Return all locks that a migration and its statements and hooks list."""
    steps: list[Step] = [*migration.statements, *migration.hooks]
    return [*migration.locks, *(lock for step in steps for lock in step.locks)]
