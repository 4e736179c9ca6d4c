"""Compare the measurements with the limits; an unknown value counts as exceeded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from confiture.config.gate_policy import GatePolicy, Limit
from confiture.models.report import Finding, HookReport, Lock, MigrationReport, NotSeen, StatementReport
from confiture.rules.fingerprint import make_fingerprint
from confiture.units import format_duration, format_size

LIMIT_RULES = {
    "max_block": "limit-block",
    "max_block_of": "limit-block",
    "max_duration": "limit-duration",
    "max_hook_duration": "limit-hook-duration",
    "max_rewritten": "limit-rewritten",
    "max_wal": "limit-wal",
    "max_estimated": "limit-estimated",
}
# The values of NotSeen.what: unobserved scans change no limit, unknown long blocks every one.
_IRRELEVANT_UNSEEN = "scans"
_UNKNOWN_LONG_BLOCKS = "long blocks"


@frozen
class _LimitBreach:
    """A limit that is exceeded, or cannot be checked.

    Attributes:
        key: The limit's key in the policy.
        message: The measured value and the limit, or why the value is unknown.
        migration: The migration that exceeds the limit, or contributes most to a total.
        relation: The blocked relation, for ``max_block``.
        statement: The statement that contributes most; ``None`` if there is none.
        known: False if the value could not be measured.
    """

    key: str
    message: str
    migration: MigrationReport
    relation: str | None = None
    statement: StatementReport | None = None
    known: bool = True


def find_exceeded(
    migrations: Sequence[MigrationReport], policy: GatePolicy, files: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Return a finding for each exceeded limit.

    Args:
        migrations: The rehearsed migrations that the gate checks.
        policy: The policy with the limits.
        files: The file of each version, as reports show it.
    """
    found = [over for migration in migrations for over in _check_migration(migration, policy)]
    found += _check_totals(migrations, policy)
    return tuple(_build_finding(breach, files) for breach in found)


def _build_finding(breach: _LimitBreach, files: Mapping[str, str]) -> Finding:
    file = files.get(breach.migration.version) or breach.migration.file or ""
    sql = f"{breach.key} {breach.relation} {breach.statement.sql if breach.statement else ''}"
    return Finding(
        rule=LIMIT_RULES[breach.key],
        severity="error",
        migration=breach.migration.version,
        file=file,
        line=breach.statement.line if breach.statement else None,
        relation=breach.relation,
        message=breach.message,
        recipe=None,
        basis="measured" if breach.known else "static",
        ignored=False,
        fingerprint=make_fingerprint(LIMIT_RULES[breach.key], file, sql, 1),
    )


# One migration.


def _check_migration(migration: MigrationReport, policy: GatePolicy) -> Iterator[_LimitBreach]:
    if policy.max_block or policy.max_block_of:
        yield from _check_blocks(migration, policy)
    if policy.max_hook_duration:
        yield from _check_hooks(migration, policy.max_hook_duration)
    if policy.max_estimated:
        yield from _check_estimate(migration, policy.max_estimated)


def _check_blocks(migration: MigrationReport, policy: GatePolicy) -> Iterator[_LimitBreach]:
    key = "max_block" if policy.max_block else "max_block_of"
    if why := _explain_unknown(migration, locks=True):
        yield _report_unknown(key, policy.max_block, migration, why)
    longest_ms = max((lock.held_ms or 0.0 for lock in _list_locks(migration)), default=0.0)
    for relation, locks in _group_blocking_locks(migration).items():
        limit = policy.find_block_limit(relation)
        if limit is None:
            continue
        # A relation that is not locked itself is blocked by a lock on an index or a parent. Which one is not
        # recorded, so the longest lock is the upper bound.
        held_ms = [lock.held_ms for lock in locks] or [longest_ms]
        taker = _find_blocker(migration, relation)
        if None in held_ms:
            why = f"how long {relation} was blocked was not measured"
            yield _report_unknown(key, limit, migration, why, relation, taker)
        elif (most_ms := max(value or 0.0 for value in held_ms)) > limit.most:
            what = " and ".join(_list_blocked_access(migration, relation, locks))
            message = f"{what} of {relation} blocked for {format_duration(most_ms)}, limit {limit.written}"
            yield _LimitBreach(key, message, migration, relation, taker)
        else:
            yield from _check_production_block(key, limit, migration, relation, taker)


def _check_production_block(
    key: str, limit: Limit, migration: MigrationReport, relation: str, taker: StatementReport | None
) -> Iterator[_LimitBreach]:
    """Judge the upper end of the time for which production would block a relation, if it was estimated."""
    for table in migration.unavailable:
        estimates = [estimate for estimate in (table.reads, table.writes) if estimate]
        if table.relation != relation or not estimates:
            continue
        if unknown := next(
            (estimate for estimate in estimates if not estimate.known or not estimate.interval90_ms), None
        ):
            why = f"how long production blocks {relation} is unknown: {unknown.reason}"
            yield _report_unknown(key, limit, migration, why, relation, taker)
            continue
        upper_ms = max(estimate.interval90_ms[1] for estimate in estimates if estimate.interval90_ms)
        if upper_ms > limit.most:
            upper = format_duration(upper_ms)
            message = f"{relation} may be blocked for up to {upper} in production, limit {limit.written}"
            yield _LimitBreach(key, message, migration, relation, taker)


def _group_blocking_locks(migration: MigrationReport) -> dict[str, list[Lock]]:
    """Return every blocked relation with the locks on it that block others; none if a lock elsewhere does."""
    found: dict[str, list[Lock]] = {}
    for lock in _list_locks(migration):
        if lock.blocks:
            found.setdefault(lock.relation, []).append(lock)
    for relation in (*migration.blocks.reads, *migration.blocks.writes):
        found.setdefault(relation, [])
    return dict(sorted(found.items()))


def _list_blocked_access(migration: MigrationReport, relation: str, locks: Iterable[Lock]) -> list[str]:
    own = {block for lock in locks for block in lock.blocks}
    own |= {"reads"} if relation in migration.blocks.reads else set()
    own |= {"writes"} if relation in migration.blocks.writes else set()
    return sorted(own)


def _list_locks(migration: MigrationReport) -> Iterator[Lock]:
    yield from migration.locks
    for statement in migration.statements:
        yield from statement.locks
    for hook in migration.hooks:
        yield from hook.locks


def _find_blocker(migration: MigrationReport, relation: str) -> StatementReport | None:
    """Return the first statement that blocks a relation."""
    for statement in migration.statements:
        if any(lock.relation == relation and lock.blocks for lock in statement.locks):
            return statement
    return None


def _check_hooks(migration: MigrationReport, limit: Limit) -> Iterator[_LimitBreach]:
    if why := _explain_unknown(migration):
        yield _report_unknown("max_hook_duration", limit, migration, why)
    for hook in migration.hooks:
        if hook.duration_ms > limit.most:
            took = format_duration(hook.duration_ms)
            message = f"hook {_format_hook_name(hook)} took {took}, limit {limit.written}"
            yield _LimitBreach("max_hook_duration", message, migration)


def _format_hook_name(hook: HookReport) -> str:
    return f"{hook.plugin or 'migration'} {hook.phase} {hook.hook}"


def _check_estimate(migration: MigrationReport, limit: Limit) -> Iterator[_LimitBreach]:
    estimate = migration.estimate
    if estimate is None or not estimate.known or estimate.interval90_ms is None:
        why = (estimate.reason if estimate else None) or "there is no estimate: add --production"
        yield _report_unknown("max_estimated", limit, migration, why)
    elif (upper_ms := estimate.interval90_ms[1]) > limit.most:
        upper = format_duration(upper_ms)
        message = f"may take up to {upper} in production (90 % interval), limit {limit.written}"
        yield _LimitBreach("max_estimated", message, migration)


# All of them together.


def _check_totals(migrations: Sequence[MigrationReport], policy: GatePolicy) -> Iterator[_LimitBreach]:
    for key, limit, measured, words in (
        ("max_duration", policy.max_duration, _measure_duration, format_duration),
        ("max_rewritten", policy.max_rewritten, _measure_rewritten, _format_size),
        ("max_wal", policy.max_wal, _measure_wal, _format_size),
    ):
        if limit is None or not migrations:
            continue
        amounts = [measured(migration) for migration in migrations]
        for report, (_, why, _) in zip(migrations, amounts, strict=True):
            if why:
                yield _report_unknown(key, limit, report, why)
        total = sum(amount for amount, _, _ in amounts)
        if total > limit.most:
            worst, (_, _, statement) = max(zip(migrations, amounts, strict=True), key=lambda pair: pair[1][0])
            message = f"{_TOTAL_PHRASES[key]} {words(total)}, limit {limit.written}"
            yield _LimitBreach(key, message, worst, statement=statement)


_TOTAL_PHRASES = {
    "max_duration": "the migrations took",
    "max_rewritten": "rewritten tables and indexes total",
    "max_wal": "the write-ahead log grew by",
}
_Amount = tuple[float, str | None, StatementReport | None]


def _format_size(amount: float) -> str:
    return format_size(round(amount))


def _measure_duration(migration: MigrationReport) -> _Amount:
    why = _explain_unknown(migration) or (
        None if migration.duration_ms is not None else "its duration was not measured"
    )
    longest = max(migration.statements, key=lambda statement: statement.duration_ms, default=None)
    return migration.duration_ms or 0.0, why, longest


def _measure_rewritten(migration: MigrationReport) -> _Amount:
    by_statements = {name for statement in migration.statements for name in statement.rewrites}
    unmeasured = [
        statement
        for statement in migration.statements
        if statement.rewrites and statement.rewritten_bytes is None
    ]
    why = _explain_unknown(migration)
    if unsized := sorted(
        # Rewritten by a hook, whose bytes are not measured, or by a statement that was not measured.
        {*migration.rewrites} - by_statements
        | {name for statement in unmeasured for name in statement.rewrites}
    ):
        why = why or f"the size of the rewritten {unsized[0]} was not measured"
    return _add_amounts(
        [statement.rewritten_bytes or 0 for statement in migration.statements], migration, why
    )


def _measure_wal(migration: MigrationReport) -> _Amount:
    steps: list[StatementReport | HookReport] = [*migration.statements, *migration.hooks]
    why = _explain_unknown(migration)
    if any(step.wal_bytes is None for step in steps):
        why = why or "the WAL of a statement or hook was not measured"
    hooks = sum(hook.wal_bytes or 0 for hook in migration.hooks)
    total, why, worst = _add_amounts(
        [statement.wal_bytes or 0 for statement in migration.statements], migration, why
    )
    return total + hooks, why, worst


def _add_amounts(amounts: Sequence[int], migration: MigrationReport, why: str | None) -> _Amount:
    index = max(range(len(amounts)), key=amounts.__getitem__, default=None)
    return sum(amounts), why, None if index is None else migration.statements[index]


# Unknown values.


def _report_unknown(
    key: str,
    limit: Limit | None,
    migration: MigrationReport,
    why: str,
    relation: str | None = None,
    statement: StatementReport | None = None,
) -> _LimitBreach:
    name = f"{key} = {limit.written}" if limit else key
    message = f"cannot check {name} (unknown counts as exceeded): {why}"
    return _LimitBreach(
        key, message, migration, relation, statement or _find_not_rehearsed(migration), known=False
    )


def _explain_unknown(migration: MigrationReport, *, locks: bool = False) -> str | None:
    """Return why the measurements of a migration are incomplete; ``None`` if they are complete."""
    if statement := _find_not_rehearsed(migration):
        return f"a statement was not rehearsed: {statement.not_rehearsed}"
    if migration.outcome == "not_rehearsed":
        return f"it was not rehearsed: {migration.reason}"
    unseen = [_describe_unseen(gap) for gap in migration.not_seen if _is_relevant(gap, locks=locks)]
    return unseen[0] if unseen else None


def _is_relevant(unseen: NotSeen, *, locks: bool) -> bool:
    return unseen.what == _UNKNOWN_LONG_BLOCKS or (locks and unseen.what != _IRRELEVANT_UNSEEN)


def _describe_unseen(unseen: NotSeen) -> str:
    of = f" of {unseen.relation}" if unseen.relation else ""
    return f"{unseen.what}{of} not seen: {unseen.reason}"


def _find_not_rehearsed(migration: MigrationReport) -> StatementReport | None:
    return next((statement for statement in migration.statements if statement.not_rehearsed), None)
