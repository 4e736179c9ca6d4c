"""What a rehearsal says of a statement, as the rules ask for it."""

from __future__ import annotations

from confiture.models.report import Lock
from confiture.rules.parse_tree import RelationName
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.rule import Hit

_EMPTY = "; it holds no rows here, so how long that takes elsewhere is not known"


def list_worked_on(piece: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that the statement rewrites, reads end to end or builds an index on."""
    report = piece.report
    if report is None:
        return ()
    builds = (build.table for build in report.index_builds)
    return tuple(dict.fromkeys((*report.rewrites, *builds, *report.scans)))


def list_long_blocks(piece: ParsedStatement) -> tuple[str, ...]:
    """Return those of them that hold rows and that others wait for meanwhile."""
    migration = piece.reading.report
    if migration is None or piece.report is None:
        return ()
    worked = list_worked_on(piece)
    # What is listed as read end to end holds rows, also where PostgreSQL has no estimate of them yet.
    blocked = _list_blocked(piece) if set(worked) - set(migration.long_blocks) else ()
    read = piece.report.scans
    return tuple(
        each for each in worked if each in migration.long_blocks or (each in read and each in blocked)
    )


def _list_blocked(piece: ParsedStatement) -> frozenset[str]:
    """Return what is locked so that others wait, by this statement or one before it."""
    upto = (each.report for each in (*piece.earlier_statements, piece) if each.report)
    return frozenset(lock.relation for report in upto for lock in report.locks if lock.blocks)


def find_locks_on(piece: ParsedStatement, name: RelationName) -> tuple[Lock, ...]:
    """Return the locks that the migration takes on a relation, this statement's first."""
    migration = piece.reading.report
    own = piece.report.locks if piece.report else ()
    return tuple(
        lock for lock in (*own, *(migration.locks if migration else ())) if name.is_rel(lock.relation)
    )


def was_rewritten(_: Hit, piece: ParsedStatement) -> bool:
    """Whether the statement gives a table a new file."""
    return bool(piece.report and piece.report.rewrites)


def was_only_rebuilt(_: Hit, piece: ParsedStatement) -> bool:
    """Whether it builds indexes anew and rewrites nothing."""
    return bool(piece.report and piece.report.index_builds and not piece.report.rewrites)


def was_only_scanned(_: Hit, piece: ParsedStatement) -> bool:
    """Whether it reads a table end to end, and neither rewrites it nor builds an index."""
    report = piece.report
    return bool(report and report.scans and not report.rewrites and not report.index_builds)


def was_scanned(_: Hit, piece: ParsedStatement) -> bool:
    """Whether it reads a table end to end."""
    return bool(piece.report and piece.report.scans)


def was_worked_on(_: Hit, piece: ParsedStatement) -> bool:
    """Whether it reads, rewrites or indexes anything end to end while others wait."""
    return bool(list_long_blocks(piece))


def was_locked(hit: Hit, piece: ParsedStatement) -> bool:
    """Whether it locks something that was there before."""
    return bool(piece.report and piece.report.locks) or _was_held_already(hit, piece)


def _was_held_already(hit: Hit, piece: ParsedStatement) -> bool:
    migration = piece.reading.report
    held = migration.locks if migration else ()
    return hit.relation is not None and any(
        each.relation == hit.relation or each.relation.endswith(f".{hit.relation}") for each in held
    )


def render_measured(hit: Hit, piece: ParsedStatement) -> str:
    """Return the message with what was measured in it."""
    blocked = list_long_blocks(piece)
    if not blocked:
        return hit.message + (_EMPTY if list_worked_on(piece) else "")
    took = _format_time(piece.report.duration_ms) if piece.report else ""
    return "; ".join(
        f"{_choose_verb(piece, each)} {each} ({took}) while {_describe_waiting(piece, each)} of it wait"
        for each in blocked
    )


def find_relation(hit: Hit, piece: ParsedStatement) -> str | None:
    """Return the relation as the report spells it, where the text's is seen in it."""
    if hit.relation is None:
        return next(iter(list_long_blocks(piece)), None)
    for each in (*list_worked_on(piece), *(lock.relation for lock in _list_all_locks(piece))):
        if each == hit.relation or each.endswith(f".{hit.relation}"):
            return each
    return hit.relation


def _list_all_locks(piece: ParsedStatement) -> tuple[Lock, ...]:
    own = piece.report.locks if piece.report else ()
    return (*own, *(piece.reading.report.locks if piece.reading.report else ()))


def _choose_verb(piece: ParsedStatement, relation: str) -> str:
    report = piece.report
    assert report is not None
    if relation in report.rewrites:
        return "rewrites"
    built = [build.index for build in report.index_builds if build.table == relation]
    return f"builds {', '.join(built)} on" if built else "reads all of"


def _describe_waiting(piece: ParsedStatement, relation: str) -> str:
    own = {what for lock in _list_all_locks(piece) if lock.relation == relation for what in lock.blocks}
    return "reads and writes" if not own or len(own) > 1 else own.pop()


def _format_time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"
