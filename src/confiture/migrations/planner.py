"""Decide what is to be run: files against ledger. Pure; it asks nobody anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confiture.exceptions import LedgerFault, UsageFault
from confiture.migrations.version import numbers
from confiture.models.ledger import Entry
from confiture.models.migration import Direction, Script
from confiture.models.plan import MigrationStatus


def statuses(scripts: Sequence[Script], entries: Iterable[Entry]) -> tuple[MigrationStatus, ...]:
    """Return one status a migration, known from its file, the ledger or both, by version."""
    known = _by_version(entries)
    files = {numbers(script.version): script for script in scripts}
    return tuple(_status(files.get(version), known.get(version)) for version in sorted({*files, *known}))


def _by_version(entries: Iterable[Entry]) -> dict[tuple[int, ...], Entry]:
    known: dict[tuple[int, ...], Entry] = {}
    # An unfinished down stands beside the row of what was applied, and says more.
    for entry in sorted(entries, key=lambda entry: entry.finished, reverse=True):
        before = known.get(numbers(entry.version))
        checksum = before.checksum if before else entry.checksum
        known[numbers(entry.version)] = Entry(
            entry.version, entry.name, checksum, entry.applied_at, entry.done, entry.direction, entry.begun
        )
    return known


def _status(script: Script | None, entry: Entry | None) -> MigrationStatus:
    if entry is None:
        assert script is not None
        return MigrationStatus(script.version, script.name, "pending")
    if not entry.finished:
        return MigrationStatus(entry.version, script.name if script else entry.name, "unfinished")
    if script is None:
        return MigrationStatus(entry.version, entry.name, "missing", entry.applied_at)
    changed = entry.checksum not in (None, script.checksum)
    return MigrationStatus(script.version, script.name, "changed" if changed else "applied", entry.applied_at)


def pending(
    scripts: Sequence[Script], entries: Sequence[Entry], *, to: str | None = None, out_of_order: bool = False
) -> tuple[Script, ...]:
    """Return what is to be applied, in order, the unfinished included.

    Raises:
        UsageFault: ``to`` is no version that is known.
        LedgerFault: Applied files are changed or missing, or a pending one lies below an applied one.
    """
    limit = numbers(find(scripts, to).version) if to is not None else None
    _refuse_disagreement(scripts, entries)
    known = _by_version(entries)
    applied = [version for version, entry in known.items() if entry.finished]
    chosen = tuple(script for script in scripts if _is_pending(known.get(numbers(script.version))))
    late = [script for script in chosen if applied and numbers(script.version) < max(applied)]
    late = [script for script in late if numbers(script.version) not in known]
    if late and not out_of_order:
        raise LedgerFault(
            f"out of order: {_labels(late)} {'is' if len(late) == 1 else 'are'} pending below version "
            f"{_written(known, max(applied))}, which is applied",
            hint="give it a newer version, or apply it all the same: --allow-out-of-order",
        )
    return tuple(script for script in chosen if limit is None or numbers(script.version) <= limit)


def _is_pending(entry: Entry | None) -> bool:
    return entry is None or (not entry.finished and entry.direction == "forward")


def _written(known: dict[tuple[int, ...], Entry], version: tuple[int, ...]) -> str:
    return known[version].version


def _refuse_disagreement(scripts: Sequence[Script], entries: Sequence[Entry]) -> None:
    each = statuses(scripts, entries)
    changed = [status for status in each if status.state == "changed"]
    missing = [status for status in each if status.state == "missing"]
    lines = [f"changed since it was applied: {_label(status)}" for status in changed]
    lines += [f"applied, but its file is missing: {_label(status)}" for status in missing]
    half_undone = [entry for entry in entries if not entry.finished and entry.direction == "backward"]
    lines += [f"its down is unfinished: {entry.version} {entry.name}" for entry in half_undone]
    files = {numbers(script.version) for script in scripts}
    lines += [
        f"unfinished, but its file is missing: {entry.version} {entry.name}"
        for entry in entries
        if not entry.finished and numbers(entry.version) not in files
    ]
    if lines:
        raise LedgerFault(
            "the ledger and the files disagree\n  " + "\n  ".join(lines),
            hint="finish it: confiture down" if len(lines) == len(half_undone) else _way_on(changed, missing),
        )


def _way_on(changed: Sequence[MigrationStatus], missing: Sequence[MigrationStatus]) -> str:
    ways = [f"confiture repair --accept-changed {status.version}" for status in changed[:1]]
    ways += [f"confiture repair --forget {status.version}" for status in missing[:1]]
    return "restore the file" + "".join(f", or: {way}" for way in ways)


def _label(status: MigrationStatus) -> str:
    return f"{status.version} {status.name}".rstrip()


def _labels(scripts: Iterable[Script]) -> str:
    return ", ".join(script.label for script in scripts)


def find(scripts: Sequence[Script], version: str) -> Script:
    """Return the script of a version, which may be written without leading zeros.

    Raises:
        UsageFault: There is none, or it is no version.
    """
    wanted = _numbers(version)
    for script in scripts:
        if numbers(script.version) == wanted:
            return script
    raise UsageFault(f"there is no migration of version {version!r}", hint="list them: confiture status")


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return numbers(version)
    except ValueError:
        raise UsageFault(
            f"{version!r} is not a version", hint="list the versions: confiture status"
        ) from None


def to_undo(
    scripts: Sequence[Script], entries: Sequence[Entry], *, steps: int | None = None, to: str | None = None
) -> tuple[Script, ...]:
    """Return what is to be undone, newest first: ``steps`` of them, or all above ``to``.

    Raises:
        UsageFault: ``to`` is not applied.
        LedgerFault: One of them has changed or is missing, or a migration is unfinished.
    """
    known = _by_version(entries)
    undoable = {v for v, entry in known.items() if entry.finished or entry.direction == "backward"}
    newest_first = sorted(undoable, reverse=True)
    if to is not None:
        target = _numbers(to)
        if target not in known or not known[target].finished:
            raise UsageFault(f"version {to!r} is not applied", hint="list what is: confiture status")
        chosen = [version for version in newest_first if version > target]
    else:
        chosen = newest_first[: 1 if steps is None else steps]
    files = {numbers(script.version): script for script in scripts}
    _refuse_unfinished(entries)
    for version in chosen:
        status = _status(files.get(version), known[version])
        if status.state in ("changed", "missing"):
            raise LedgerFault(
                f"cannot undo {_label(status)}: its file is {status.state} since it was applied",
                hint=_way_on([status], []) if status.state == "changed" else "restore the file",
            )
    return tuple(files[version] for version in chosen if version in files)


def _refuse_unfinished(entries: Iterable[Entry]) -> None:
    for entry in entries:
        if not entry.finished and entry.direction == "forward":
            raise LedgerFault(
                f"migration {entry.version} {entry.name} is unfinished",
                hint=f"finish it: confiture run; or see what was done: confiture repair {entry.version}",
            )


def unfinished(entries: Iterable[Entry], version: str, direction: Direction) -> Entry | None:
    """Return what the ledger has recorded of a migration that is unfinished in this direction."""
    for entry in entries:
        same = numbers(entry.version) == numbers(version) and entry.direction == direction
        if same and not entry.finished:
            return entry
    return None
