"""Choose which migrations to run or undo by comparing files with ledger entries. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence

from confiture.exceptions import LedgerFault, UsageFault
from confiture.migrations.version import VersionKey, VersionOrder, parse_version
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Direction, MigrationFile
from confiture.models.plan import MigrationState, MigrationStatus


def determine_statuses(
    scripts: Sequence[MigrationFile], entries: Iterable[LedgerEntry]
) -> tuple[MigrationStatus, ...]:
    """Return one status per migration in the files or the ledger, in the order of the files."""
    by_version = _index_by_version(entries)
    files = {parse_version(script.version): script for script in scripts}
    return tuple(
        _determine_status(files.get(version), by_version.get(version))
        for version in sorted({*files, *by_version}, key=order_scripts(scripts).rank)
    )


def order_scripts(scripts: Iterable[MigrationFile]) -> VersionOrder:
    """Return the order of the migrations, which is the one their source gives them."""
    return VersionOrder(script.version for script in scripts)


def _index_by_version(entries: Iterable[LedgerEntry]) -> dict[VersionKey, LedgerEntry]:
    by_version: dict[VersionKey, LedgerEntry] = {}
    # While a down is unfinished, the ledger has its progress and the row of the applied migration.
    # Finished entries sort first, so the unfinished one replaces the row and keeps its checksum.
    for entry in sorted(entries, key=lambda entry: entry.finished, reverse=True):
        before = by_version.get(parse_version(entry.version))
        checksum = before.checksum if before else entry.checksum
        by_version[parse_version(entry.version)] = LedgerEntry(
            entry.version, entry.name, checksum, entry.applied_at, entry.done, entry.direction, entry.begun
        )
    return by_version


def _determine_status(script: MigrationFile | None, entry: LedgerEntry | None) -> MigrationStatus:
    if entry is None:
        assert script is not None
        return MigrationStatus(script.version, script.name, "pending")
    if not entry.finished:
        return MigrationStatus(entry.version, script.name if script else entry.name, "unfinished")
    if script is None:
        return MigrationStatus(entry.version, entry.name, "missing", entry.applied_at)
    if entry.checksum in (None, script.checksum):
        return MigrationStatus(script.version, script.name, "applied", entry.applied_at)
    state: MigrationState = "pending" if script.repeatable else "changed"
    return MigrationStatus(script.version, script.name, state, entry.applied_at)


def select_pending(
    scripts: Sequence[MigrationFile],
    entries: Sequence[LedgerEntry],
    *,
    to: str | None = None,
    out_of_order: bool = False,
) -> tuple[MigrationFile, ...]:
    """Return the migrations to apply, in order, unfinished ones included.

    Raises:
        UsageFault: ``to`` is not a known version.
        LedgerFault: An applied file has changed or is missing, or a pending version is below an applied one.
    """
    last = find_script(scripts, to) if to is not None else None
    _refuse_disagreement(scripts, entries)
    by_version = _index_by_version(entries)
    chosen = tuple(
        script for script in scripts if _is_pending(script, by_version.get(parse_version(script.version)))
    )
    late = find_late(scripts, entries)
    if late and not out_of_order:
        newest = find_newest_applied(scripts, entries)
        assert newest is not None
        raise LedgerFault(
            f"out of order: {_format_labels(late)} {'is' if len(late) == 1 else 'are'} pending below version "
            f"{newest.version}, which is applied",
            hint="give it a newer version, or apply it anyway: --allow-out-of-order",
        )
    return tuple(script for script in chosen if last is None or scripts.index(script) <= scripts.index(last))


def find_late(scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry]) -> tuple[MigrationFile, ...]:
    """Return the migrations that are in no ledger entry and stand before the newest applied one.

    If the migrations name what they require, those are late that an applied one requires.
    """
    known = _index_by_version(entries)
    if any(script.requires is not None for script in scripts):
        return find_skipped(scripts, known)
    newest = find_newest_applied(scripts, entries)
    if newest is None:
        return ()
    order = order_scripts(scripts)
    limit = order.rank(parse_version(newest.version))
    keys = {script: parse_version(script.version) for script in scripts if not script.repeatable}
    return tuple(script for script, key in keys.items() if key not in known and order.rank(key) < limit)


def find_skipped(
    scripts: Sequence[MigrationFile], applied: Container[VersionKey]
) -> tuple[MigrationFile, ...]:
    """Return the migrations that are not applied although one that is requires them."""
    required: set[VersionKey] = set()
    # A migration comes after those that it requires.
    for script in reversed(scripts):
        key = parse_version(script.version)
        if key in required or key in applied:
            required.update(map(parse_version, script.requires or ()))
    keys = {script: parse_version(script.version) for script in scripts}
    return tuple(script for script, key in keys.items() if key in required and key not in applied)


def find_newest_applied(
    scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry]
) -> LedgerEntry | None:
    """Return the applied migration that comes last in order, repeatable ones not counted."""
    order = order_scripts(scripts)
    repeatable = {parse_version(script.version) for script in scripts if script.repeatable}
    applied = {key: entry for key, entry in _index_by_version(entries).items() if entry.finished}
    keys = applied.keys() - repeatable
    return applied[max(keys, key=order.rank)] if keys else None


def _is_pending(script: MigrationFile, entry: LedgerEntry | None) -> bool:
    if entry is None or (not entry.finished and entry.direction == "forward"):
        return True
    return script.repeatable and entry.finished and entry.checksum not in (None, script.checksum)


def _refuse_disagreement(scripts: Sequence[MigrationFile], entries: Sequence[LedgerEntry]) -> None:
    statuses = determine_statuses(scripts, entries)
    changed = [status for status in statuses if status.state == "changed"]
    missing = [status for status in statuses if status.state == "missing"]
    lines = [f"changed since it was applied: {_format_label(status)}" for status in changed]
    lines += [f"applied, but its file is missing: {_format_label(status)}" for status in missing]
    half_undone = [entry for entry in entries if not entry.finished and entry.direction == "backward"]
    lines += [f"its down is unfinished: {entry.version} {entry.name}" for entry in half_undone]
    files = {parse_version(script.version) for script in scripts}
    lines += [
        f"unfinished, but its file is missing: {entry.version} {entry.name}"
        for entry in entries
        if not entry.finished and parse_version(entry.version) not in files
    ]
    if lines:
        raise LedgerFault(
            "the ledger and the files disagree\n  " + "\n  ".join(lines),
            hint=f"finish it: confiture down; or see what was done: confiture repair {half_undone[0].version}"
            if len(lines) == len(half_undone)
            else _suggest_remedy(changed, missing),
        )


def _suggest_remedy(changed: Sequence[MigrationStatus], missing: Sequence[MigrationStatus]) -> str:
    ways = [f"confiture repair --accept-changed {status.version}" for status in changed[:1]]
    ways += [f"confiture repair --forget {status.version}" for status in missing[:1]]
    return "restore the file" + "".join(f", or: {way}" for way in ways)


def _format_label(status: MigrationStatus) -> str:
    return f"{status.version} {status.name}".rstrip()


def _format_labels(scripts: Iterable[MigrationFile]) -> str:
    return ", ".join(script.label for script in scripts)


def find_script(scripts: Sequence[MigrationFile], version: str) -> MigrationFile:
    """Return the script of a version, which may be written without leading zeros.

    Of a version that is a whole file name, the number in front is enough if no other one begins with it.

    Raises:
        UsageFault: There is no such migration.
    """
    wanted = parse_version(version)
    for script in scripts:
        if parse_version(script.version) == wanted:
            return script
    begun = [script for script in scripts if parse_version(script.version)[:2] == (*wanted, math.inf)]
    if len(begun) == 1:
        return begun[0]
    raise UsageFault(f"there is no migration of version {version!r}", hint="list them: confiture status")


def select_to_undo(
    scripts: Sequence[MigrationFile],
    entries: Sequence[LedgerEntry],
    *,
    steps: int | None = None,
    to: str | None = None,
) -> tuple[MigrationFile, ...]:
    """Return the migrations to undo, newest first: the last ``steps``, or all above ``to``.

    Raises:
        UsageFault: ``to`` is not applied.
        LedgerFault: The file of one of them has changed or is missing, or a migration is unfinished.
    """
    by_version = _index_by_version(entries)
    undoable = {
        version for version, entry in by_version.items() if entry.finished or entry.direction == "backward"
    }
    undoable -= {parse_version(script.version) for script in scripts if script.repeatable}
    order = order_scripts(scripts)
    newest_first = sorted(undoable, key=order.rank, reverse=True)
    if to is not None:
        target = _resolve_applied(scripts, by_version, to)
        if target not in by_version or not by_version[target].finished:
            raise UsageFault(
                f"version {to!r} is not applied", hint="list the applied versions: confiture status"
            )
        chosen = [version for version in newest_first if order.rank(version) > order.rank(target)]
    else:
        chosen = newest_first[: 1 if steps is None else steps]
    files = {parse_version(script.version): script for script in scripts}
    _refuse_unfinished(entries)
    for version in chosen:
        status = _determine_status(files.get(version), by_version[version])
        if status.state in ("changed", "missing"):
            raise LedgerFault(
                f"cannot undo {_format_label(status)}: its file is {status.state} since it was applied",
                hint=_suggest_remedy([status], []) if status.state == "changed" else "restore the file",
            )
    return tuple(files[version] for version in chosen if version in files)


def _resolve_applied(
    scripts: Sequence[MigrationFile], by_version: dict[VersionKey, LedgerEntry], to: str
) -> VersionKey:
    target = parse_version(to)
    if target in by_version:
        return target
    return parse_version(find_script(scripts, to).version)


def _refuse_unfinished(entries: Iterable[LedgerEntry]) -> None:
    for entry in entries:
        if not entry.finished and entry.direction == "forward":
            raise LedgerFault(
                f"migration {entry.version} {entry.name} is unfinished",
                hint=f"finish it: confiture run; or see what was done: confiture repair {entry.version}",
            )


def find_unfinished(entries: Iterable[LedgerEntry], version: str, direction: Direction) -> LedgerEntry | None:
    """Return the ledger entry of a migration that is unfinished in this direction; ``None`` if it is not."""
    for entry in entries:
        same = parse_version(entry.version) == parse_version(version) and entry.direction == direction
        if same and not entry.finished:
            return entry
    return None
