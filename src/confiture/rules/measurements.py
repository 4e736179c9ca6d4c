"""What a rehearsal says of a statement, as the rules ask for it."""

from __future__ import annotations

from confiture.models.report import Lock
from confiture.rules.parse_tree import Name
from confiture.rules.parsed_migration import Piece
from confiture.rules.rule import Hit

_EMPTY = "; it holds no rows here, so how long that takes elsewhere is not known"


def worked_on(piece: Piece) -> tuple[str, ...]:
    """Return the relations that the statement rewrites, reads end to end or builds an index on."""
    report = piece.report
    if report is None:
        return ()
    builds = (build.table for build in report.index_builds)
    return tuple(dict.fromkeys((*report.rewrites, *builds, *report.scans)))


def long_here(piece: Piece) -> tuple[str, ...]:
    """Return those of them that hold rows and that others wait for meanwhile."""
    migration = piece.reading.report
    if migration is None or piece.report is None:
        return ()
    worked = worked_on(piece)
    # What is listed as read end to end holds rows, also where PostgreSQL has no estimate of them yet.
    blocked = _blocked_by_then(piece) if set(worked) - set(migration.long_blocks) else ()
    read = piece.report.scans
    return tuple(
        each for each in worked if each in migration.long_blocks or (each in read and each in blocked)
    )


def _blocked_by_then(piece: Piece) -> frozenset[str]:
    """Return what is locked so that others wait, by this statement or one before it."""
    upto = (each.report for each in (*piece.earlier, piece) if each.report)
    return frozenset(lock.relation for report in upto for lock in report.locks if lock.blocks)


def locks_on(piece: Piece, name: Name) -> tuple[Lock, ...]:
    """Return the locks that the migration takes on a relation, this statement's first."""
    migration = piece.reading.report
    own = piece.report.locks if piece.report else ()
    return tuple(
        lock for lock in (*own, *(migration.locks if migration else ())) if name.is_rel(lock.relation)
    )


def rewrites(_: Hit, piece: Piece) -> bool:
    """Whether the statement gives a table a new file."""
    return bool(piece.report and piece.report.rewrites)


def rebuilds_only(_: Hit, piece: Piece) -> bool:
    """Whether it builds indexes anew and rewrites nothing."""
    return bool(piece.report and piece.report.index_builds and not piece.report.rewrites)


def scans_only(_: Hit, piece: Piece) -> bool:
    """Whether it reads a table end to end, and neither rewrites it nor builds an index."""
    report = piece.report
    return bool(report and report.scans and not report.rewrites and not report.index_builds)


def scans(_: Hit, piece: Piece) -> bool:
    """Whether it reads a table end to end."""
    return bool(piece.report and piece.report.scans)


def works(_: Hit, piece: Piece) -> bool:
    """Whether it reads, rewrites or indexes anything end to end while others wait."""
    return bool(long_here(piece))


def locks(hit: Hit, piece: Piece) -> bool:
    """Whether it locks something that was there before."""
    return bool(piece.report and piece.report.locks) or _held_already(hit, piece)


def _held_already(hit: Hit, piece: Piece) -> bool:
    migration = piece.reading.report
    held = migration.locks if migration else ()
    return hit.relation is not None and any(
        each.relation == hit.relation or each.relation.endswith(f".{hit.relation}") for each in held
    )


def told(hit: Hit, piece: Piece) -> str:
    """Return the message with what was measured in it."""
    blocked = long_here(piece)
    if not blocked:
        return hit.message + (_EMPTY if worked_on(piece) else "")
    took = _time(piece.report.duration_ms) if piece.report else ""
    return "; ".join(
        f"{_verb(piece, each)} {each} ({took}) while {_waiting(piece, each)} of it wait" for each in blocked
    )


def relation_of(hit: Hit, piece: Piece) -> str | None:
    """Return the relation as the report spells it, where the text's is seen in it."""
    if hit.relation is None:
        return next(iter(long_here(piece)), None)
    for each in (*worked_on(piece), *(lock.relation for lock in _all_locks(piece))):
        if each == hit.relation or each.endswith(f".{hit.relation}"):
            return each
    return hit.relation


def _all_locks(piece: Piece) -> tuple[Lock, ...]:
    own = piece.report.locks if piece.report else ()
    return (*own, *(piece.reading.report.locks if piece.reading.report else ()))


def _verb(piece: Piece, relation: str) -> str:
    report = piece.report
    assert report is not None
    if relation in report.rewrites:
        return "rewrites"
    built = [build.index for build in report.index_builds if build.table == relation]
    return f"builds {', '.join(built)} on" if built else "reads all of"


def _waiting(piece: Piece, relation: str) -> str:
    own = {what for lock in _all_locks(piece) if lock.relation == relation for what in lock.blocks}
    return "reads and writes" if not own or len(own) > 1 else own.pop()


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"
