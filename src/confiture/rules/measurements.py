"""Answer the rules' questions about what a rehearsal measured."""

from __future__ import annotations

from itertools import chain

from confiture.models.report import Lock
from confiture.rules.parse_tree import QualifiedName, find_columns, find_renamed, read_name, read_rel
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import NO_RECIPE
from confiture.rules.rule import Hit
from confiture.sql.parser import read_enum_name

_EMPTY = "; it holds no rows here, so how long this takes with rows is unknown"
# A query of an empty table reads all of it even where an index would serve it if there were rows.
# The text of a DO block does not tell which of its statements read it; those are judged one by one.
_QUERY_WORDS = """
    select_stmt insert_stmt update_stmt delete_stmt merge_stmt copy_stmt call_stmt create_table_as_stmt
    explain_stmt do_stmt
"""
_EARLIER_PHASES = ("before_validation", "before_ddl")
_QUERIES = frozenset(_QUERY_WORDS.split())


def list_worked_on(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that the statement rewrites, scans completely or builds an index on."""
    report = statement.report
    if report is None:
        return ()
    builds = (build.table for build in report.index_builds)
    return tuple(dict.fromkeys((*report.rewrites, *builds, *list_scanned(statement))))


def list_scanned(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that the statement reads from end to end, with rows or without."""
    report = statement.report
    if report is None:
        return ()
    return (*report.scans, *(name for name in report.empty_scans if _reads_all(statement, name)))


def list_long_blocks(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that hold rows and are worked on while a lock of the migration blocks others.

    A table that the plan creates is left out: its few rows are the plan's, and nobody else uses it yet.
    """
    long = statement.report.long_blocks if statement.report else ()
    return tuple(
        name for name in list_worked_on(statement) if name in long and not was_unused(statement, name)
    )


def list_empty_blocks(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that would be long blocks if they held rows as they do in production.

    The database of a rehearsal is often empty, but a table that the plan did not create is in use.
    """
    empty = statement.report.empty_blocks if statement.report else ()
    return tuple(name for name in list_worked_on(statement) if name in empty and is_in_use(statement, name))


def is_in_use(statement: ParsedStatement, relation: str) -> bool:
    """Return True if the plan did not create a relation, and production's statistics count rows in it."""
    in_production = relation not in statement.migration.empty_in_production
    return in_production and not was_unused(statement, relation)


def was_unused(statement: ParsedStatement, relation: str) -> bool:
    """Return True if nobody could use a relation, as a report spells it, before this statement.

    The plan has created it, or it is a materialized view that was never filled.
    """
    migration = statement.migration
    # A rehearsal reports no relation that the migration itself creates, so only earlier ones are asked about.
    unused = (*migration.created_before, *migration.schema.unpopulated_views)
    return any(name.is_rel(relation) for name in unused)


def find_present_name(statement: ParsedStatement, rel: str) -> QualifiedName:
    """Return a relation's name before a statement; a report has that before the migration."""
    name = read_rel(rel)
    for earlier in statement.list_run_before():
        for old, new in find_renamed(earlier.kind, earlier.node):
            name = new if old.is_rel(str(name)) else name
        renames_schema = earlier.kind == "rename_stmt" and (
            read_enum_name(earlier.stmt, "rename_type") == "OBJECT_SCHEMA"
        )
        if renames_schema and earlier.stmt.subname == name.written:
            name = QualifiedName(earlier.stmt.newname, name.name, earlier.stmt.newname)
    return name


def _reads_all(statement: ParsedStatement, relation: str) -> bool:
    """Return True if a statement that read all of an empty table would do so if the table held rows."""
    if statement.kind not in _QUERIES:
        return True
    # A query that takes such a lock calls a function that runs DDL, and what DDL reads it reads to the end.
    locks = statement.report.locks if statement.report else ()
    calls = statement.kind in ("select_stmt", "call_stmt")
    if calls and any(lock.relation == relation and lock.blocks for lock in locks):
        return True
    stmt = statement.stmt
    if statement.kind not in ("update_stmt", "delete_stmt") or not read_name(stmt.relation).is_rel(relation):
        return False
    indexed = {
        columns[0]
        for table, columns in statement.migration.schema.indexes.values()
        if columns and table.is_rel(relation)
    }
    return not stmt.HasField("where_clause") or indexed.isdisjoint(find_columns(stmt.where_clause))


def was_rewritten(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement rewrites a table, that is, gives it a new file."""
    return bool(statement.report and statement.report.rewrites)


def was_only_rebuilt(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement builds indexes but rewrites no table."""
    return bool(statement.report and statement.report.index_builds and not statement.report.rewrites)


def was_only_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement scans a table but neither rewrites one nor builds an index."""
    report = statement.report
    return bool(report and list_scanned(statement) and not report.rewrites and not report.index_builds)


def was_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement scans a whole table."""
    return bool(list_scanned(statement))


def was_worked_on(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement is a long block, or would be one if the table held rows."""
    return bool(list_long_blocks(statement) or list_empty_blocks(statement))


def was_locked(hit: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement locks an existing relation, or an earlier one locked that of the hit."""
    return bool(statement.report and statement.report.locks) or _was_held_already(hit, statement)


def _was_held_already(hit: Hit, statement: ParsedStatement) -> bool:
    # A statement's report has only the locks that are new, so a lock taken earlier is found in the migration.
    migration = statement.migration.report
    held = migration.locks if migration else ()
    return hit.relation is not None and any(
        lock.relation == hit.relation or lock.relation.endswith(f".{hit.relation}") for lock in held
    )


def render_measured(hit: Hit, statement: ParsedStatement) -> str:
    """Return the message of a finding with the measured relation and time in it."""
    if blocked := list_long_blocks(statement):
        took = _format_time(statement.report.duration_ms) if statement.report else ""
        _, lack, reason = hit.message.partition(NO_RECIPE)
        return _describe_blocks(statement, blocked, f" ({took})") + lack + reason
    if blocked := list_empty_blocks(statement):
        return (hit.message or _describe_blocks(statement, blocked, "")) + _EMPTY
    return hit.message


def _describe_blocks(statement: ParsedStatement, relations: tuple[str, ...], took: str) -> str:
    return "; ".join(
        f"{choose_verb(statement, name)} {name}{took} while blocking {_describe_waiting(statement, name)}"
        for name in relations
    )


def find_relation(hit: Hit, statement: ParsedStatement) -> str | None:
    """Return the relation of the hit as the report spells it, or as the text does if it is not there."""
    if hit.relation is None:
        return next(iter(list_long_blocks(statement) or list_empty_blocks(statement)), None)
    for name in (*list_worked_on(statement), *(lock.relation for lock in _list_all_locks(statement))):
        if name == hit.relation or name.endswith(f".{hit.relation}"):
            return name
    return hit.relation


def _list_all_locks(statement: ParsedStatement) -> tuple[Lock, ...]:
    own = statement.report.locks if statement.report else ()
    return (*own, *(statement.migration.report.locks if statement.migration.report else ()))


def choose_verb(statement: ParsedStatement, relation: str) -> str:
    """Return what the statement does with all rows of a relation, as the verb of a sentence."""
    report = statement.report
    assert report is not None
    if relation in report.rewrites:
        return "rewrites"
    built = [build.index for build in report.index_builds if build.table == relation]
    return f"builds {', '.join(built)} on" if built else "scans all of"


def _describe_waiting(statement: ParsedStatement, relation: str) -> str:
    # Not what later statements lock: an index build under ShareLock lets others read.
    migration = statement.migration.report
    hooks = [hook.locks for hook in migration.hooks if hook.phase in _EARLIER_PHASES] if migration else []
    ran = (inner.report for inner in (*statement.earlier_statements, statement))
    taken = chain(*hooks, *(report.locks for report in ran if report))
    locks = [lock for lock in taken if lock.relation == relation]
    locks = locks or [lock for lock in _list_all_locks(statement) if lock.relation == relation]
    kinds = {kind for lock in locks for kind in lock.blocks}
    return "reads and writes" if not kinds or len(kinds) > 1 else kinds.pop()


def _format_time(ms: float) -> str:
    # 999.5 ms would be rounded to "1000 ms".
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"
