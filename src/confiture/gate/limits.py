"""Hold what was measured against the limits; what could not be measured counts as too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from confiture.config.gate_policy import Limit, Policy
from confiture.models.report import Finding, HookReport, Lock, MigrationReport, NotSeen, StatementReport
from confiture.rules.fingerprint import fingerprint
from confiture.units import duration, size

RULES = {
    "max_block": "limit-block",
    "max_block_of": "limit-block",
    "max_duration": "limit-duration",
    "max_hook_duration": "limit-hook-duration",
    "max_rewritten": "limit-rewritten",
    "max_wal": "limit-wal",
    "max_estimated": "limit-estimated",
}
_NO_MATTER = "scans"
_NO_ROWS = "long blocks"


@frozen
class _Over:
    """Something over a limit, or unknown.

    Attributes:
        key: The limit's key.
        message: What was measured, against what; or why it is not known.
        statement: The one to blame, where it is one.
        known: ``False``: it could not be measured.
    """

    key: str
    message: str
    migration: MigrationReport
    relation: str | None = None
    statement: StatementReport | None = None
    known: bool = True


def exceeded(
    migrations: Sequence[MigrationReport], policy: Policy, files: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Return what is over a limit, as findings.

    Args:
        migrations: Those that are judged, as they were rehearsed.
        policy: The limits.
        files: The file of each version, as reports show it.
    """
    found = [over for each in migrations for over in _of_one(each, policy)]
    found += _of_all(migrations, policy)
    return tuple(_finding(each, files) for each in found)


def _finding(over: _Over, files: Mapping[str, str]) -> Finding:
    file = files.get(over.migration.version) or over.migration.file or ""
    sql = f"{over.key} {over.relation} {over.statement.sql if over.statement else ''}"
    return Finding(
        rule=RULES[over.key],
        severity="error",
        migration=over.migration.version,
        file=file,
        line=over.statement.line if over.statement else None,
        relation=over.relation,
        message=over.message,
        recipe=None,
        basis="measured" if over.known else "static",
        ignored=False,
        fingerprint=fingerprint(RULES[over.key], file, sql, 1),
    )


# One migration.


def _of_one(migration: MigrationReport, policy: Policy) -> Iterator[_Over]:
    if policy.max_block or policy.max_block_of:
        yield from _blocks(migration, policy)
    if policy.max_hook_duration:
        yield from _hooks(migration, policy.max_hook_duration)
    if policy.max_estimated:
        yield from _estimated(migration, policy.max_estimated)


def _blocks(migration: MigrationReport, policy: Policy) -> Iterator[_Over]:
    key = "max_block" if policy.max_block else "max_block_of"
    if why := _unknown(migration, locks=True):
        yield _not_known(key, policy.max_block, migration, why)
    longest_ms = max((lock.held_ms or 0.0 for lock in _locks(migration)), default=0.0)
    for relation, locks in _blocking(migration).items():
        limit = policy.block_limit(relation)
        if limit is None:
            continue
        # Blocked by a lock on something else, an index or a parent: as long as the longest, at most.
        held_ms = [lock.held_ms for lock in locks] or [longest_ms]
        taker = _taker(migration, relation)
        if None in held_ms:
            why = f"how long {relation} was blocked was not measured"
            yield _not_known(key, limit, migration, why, relation, taker)
        elif (most_ms := max(each or 0.0 for each in held_ms)) > limit.most:
            what = " and ".join(_blocked(migration, relation, locks))
            said = f"{what} of {relation} blocked for {duration(most_ms)}, {limit.written} at most"
            yield _Over(key, said, migration, relation, taker)


def _blocking(migration: MigrationReport) -> dict[str, list[Lock]]:
    """Return every relation that is blocked, with its own locks that do so."""
    found: dict[str, list[Lock]] = {}
    for lock in _locks(migration):
        if lock.blocks:
            found.setdefault(lock.relation, []).append(lock)
    for relation in (*migration.blocks.reads, *migration.blocks.writes):
        found.setdefault(relation, [])
    return dict(sorted(found.items()))


def _blocked(migration: MigrationReport, relation: str, locks: Iterable[Lock]) -> list[str]:
    own = {each for lock in locks for each in lock.blocks}
    own |= {"reads"} if relation in migration.blocks.reads else set()
    own |= {"writes"} if relation in migration.blocks.writes else set()
    return sorted(own)


def _locks(migration: MigrationReport) -> Iterator[Lock]:
    yield from migration.locks
    for statement in migration.statements:
        yield from statement.locks
    for hook in migration.hooks:
        yield from hook.locks


def _taker(migration: MigrationReport, relation: str) -> StatementReport | None:
    """Return the first statement that blocks a relation."""
    for statement in migration.statements:
        if any(lock.relation == relation and lock.blocks for lock in statement.locks):
            return statement
    return None


def _hooks(migration: MigrationReport, limit: Limit) -> Iterator[_Over]:
    if why := _unknown(migration):
        yield _not_known("max_hook_duration", limit, migration, why)
    for hook in migration.hooks:
        if hook.duration_ms > limit.most:
            took = duration(hook.duration_ms)
            said = f"hook {_name(hook)} took {took}, {limit.written} at most"
            yield _Over("max_hook_duration", said, migration)


def _name(hook: HookReport) -> str:
    return f"{hook.plugin or 'migration'} {hook.phase} {hook.hook}"


def _estimated(migration: MigrationReport, limit: Limit) -> Iterator[_Over]:
    estimate = migration.estimate
    if estimate is None or not estimate.known or estimate.interval90_ms is None:
        why = (estimate.reason if estimate else None) or "there is no estimate: add --production"
        yield _not_known("max_estimated", limit, migration, why)
    elif (upper_ms := estimate.interval90_ms[1]) > limit.most:
        upper = duration(upper_ms)
        said = f"may take up to {upper} in production (90 % interval), {limit.written} at most"
        yield _Over("max_estimated", said, migration)


# All of them together.


def _of_all(migrations: Sequence[MigrationReport], policy: Policy) -> Iterator[_Over]:
    for key, limit, measured, words in (
        ("max_duration", policy.max_duration, _duration, duration),
        ("max_rewritten", policy.max_rewritten, _rewritten, _size),
        ("max_wal", policy.max_wal, _wal, _size),
    ):
        if limit is None or not migrations:
            continue
        amounts = [measured(each) for each in migrations]
        for each, (_, why, _) in zip(migrations, amounts, strict=True):
            if why:
                yield _not_known(key, limit, each, why)
        total = sum(amount for amount, _, _ in amounts)
        if total > limit.most:
            worst, (_, _, statement) = max(zip(migrations, amounts, strict=True), key=lambda each: each[1][0])
            said = f"{_WORDS[key]} {words(total)}, {limit.written} at most"
            yield _Over(key, said, worst, statement=statement)


_WORDS = {
    "max_duration": "the migrations took",
    "max_rewritten": "the tables and indexes written anew have",
    "max_wal": "the write-ahead log grew by",
}
_Amount = tuple[float, str | None, StatementReport | None]


def _size(amount: float) -> str:
    return size(round(amount))


def _duration(migration: MigrationReport) -> _Amount:
    why = _unknown(migration) or (None if migration.duration_ms is not None else "it was not measured")
    longest = max(migration.statements, key=lambda each: each.duration_ms, default=None)
    return migration.duration_ms or 0.0, why, longest


def _rewritten(migration: MigrationReport) -> _Amount:
    told = {name for each in migration.statements for name in each.rewrites}
    lost = [each for each in migration.statements if each.rewrites and each.rewritten_bytes is None]
    why = _unknown(migration)
    if unsized := sorted({*migration.rewrites} - told | {name for each in lost for name in each.rewrites}):
        why = why or f"the size of {unsized[0]}, which is rewritten, was not measured"
    return _added([each.rewritten_bytes or 0 for each in migration.statements], migration, why)


def _wal(migration: MigrationReport) -> _Amount:
    steps: list[StatementReport | HookReport] = [*migration.statements, *migration.hooks]
    why = _unknown(migration)
    if any(each.wal_bytes is None for each in steps):
        why = why or "what a step of it wrote was not measured"
    hooks = sum(each.wal_bytes or 0 for each in migration.hooks)
    total, why, worst = _added([each.wal_bytes or 0 for each in migration.statements], migration, why)
    return total + hooks, why, worst


def _added(amounts: Sequence[int], migration: MigrationReport, why: str | None) -> _Amount:
    index = max(range(len(amounts)), key=amounts.__getitem__, default=None)
    return sum(amounts), why, None if index is None else migration.statements[index]


# What is not known.


def _not_known(
    key: str,
    limit: Limit | None,
    migration: MigrationReport,
    why: str,
    relation: str | None = None,
    statement: StatementReport | None = None,
) -> _Over:
    name = f"{key} = {limit.written}" if limit else key
    said = f"{name} could not be judged, and what is not known counts as too much: {why}"
    return _Over(key, said, migration, relation, statement or _left_out(migration), known=False)


def _unknown(migration: MigrationReport, *, locks: bool = False) -> str | None:
    """Return why what was measured of a migration is not all there was."""
    if statement := _left_out(migration):
        return f"a statement was not rehearsed: {statement.not_rehearsed}"
    if migration.outcome == "not_rehearsed":
        return f"it was not rehearsed: {migration.reason}"
    unseen = [_unseen_words(each) for each in migration.not_seen if _matters(each, locks=locks)]
    return unseen[0] if unseen else None


def _matters(unseen: NotSeen, *, locks: bool) -> bool:
    return unseen.what == _NO_ROWS or (locks and unseen.what != _NO_MATTER)


def _unseen_words(unseen: NotSeen) -> str:
    of = f" of {unseen.relation}" if unseen.relation else ""
    return f"{unseen.what}{of} not seen: {unseen.reason}"


def _left_out(migration: MigrationReport) -> StatementReport | None:
    return next((each for each in migration.statements if each.not_rehearsed), None)
