"""Predict from a statement's text which locks it takes, Share and stronger.

A rehearsal may run several migrations in one transaction. ``pg_locks`` then does not show that a migration
takes a lock which an earlier one already holds in the same mode, but the text does. Relations that only the
server can look up (the other table of a dropped foreign key, what CASCADE finds) become *unnamed* locks
with a description. ``confiture.sql.procedural`` finds the statements in functions and DO blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from confiture.sql.lock_modes.alter_table import KINDS, expect_alter_table, expect_references
from confiture.sql.lock_modes.expected_lock import (
    ACCESS_EXCLUSIVE,
    EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    ExpectedLock,
    expect_lock,
    expect_unnamed_lock,
    merge_expected_locks,
)
from confiture.sql.parser import ParseError, parse_once, read_enum_name
from confiture.sql.transaction_block import is_option_on

__all__ = ["ExpectedLock", "find_expected_locks"]

# LOCK TABLE's mode is a number in the tree: PostgreSQL's own, from storage/lockdefs.h.
_MODES = {5: SHARE, 6: SHARE_ROW_EXCLUSIVE, 7: EXCLUSIVE, 8: ACCESS_EXCLUSIVE}
_DEPENDENTS = "what depends on it"
_OF_A_TABLE = ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY")


# Asked of one statement for several reasons, and ahead of a long plan.
@lru_cache(maxsize=4096)
def find_expected_locks(sql: str) -> tuple[ExpectedLock, ...]:
    """Return the locks that a text takes on existing relations, one per relation.

    Returns nothing if the text does not parse, or if all its locks are weaker than Share.
    """
    try:
        found = parse_once(sql)
    except ParseError:
        return ()
    return merge_expected_locks(lock for parsed in found for lock in _expect_statement(parsed.node))


def _expect_statement(node: Any) -> Iterator[ExpectedLock]:
    kind = node.WhichOneof("node") or ""
    judge = _HANDLERS.get(kind)
    if judge:
        yield from judge(getattr(node, kind))


def _expect_index(stmt: Any) -> Iterator[ExpectedLock]:
    # CONCURRENTLY takes ShareUpdateExclusive, which is weaker than Share.
    if not stmt.concurrent:
        yield expect_lock(stmt.relation, SHARE, children=stmt.relation.inh)


def _expect_create(stmt: Any) -> Iterator[ExpectedLock]:
    new = (stmt.relation.schemaname, stmt.relation.relname)
    columns = [elt.column_def for elt in stmt.table_elts if elt.HasField("column_def")]
    constraints = [node.constraint for column in columns for node in column.constraints]
    constraints += [elt.constraint for elt in stmt.table_elts if elt.HasField("constraint")]
    for constraint in constraints:
        # A new table that references itself locks nobody else's table.
        if (constraint.pktable.schemaname, constraint.pktable.relname) != new:
            yield from expect_references([constraint])
    if stmt.HasField("partbound"):
        yield expect_lock(stmt.inh_relations[0].range_var, ACCESS_EXCLUSIVE)
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "the default partition")
        yield expect_unnamed_lock(SHARE_ROW_EXCLUSIVE, "the tables its parent references")


def _expect_create_foreign(stmt: Any) -> Iterator[ExpectedLock]:
    return _expect_create(stmt.base_stmt)


def _expect_create_schema(stmt: Any) -> Iterator[ExpectedLock]:
    for element in stmt.schema_elts:
        yield from _expect_statement(element)


def _expect_drop(stmt: Any) -> Iterator[ExpectedLock]:
    sort = read_enum_name(stmt, "remove_type")
    for names in (_read_names(node) for node in stmt.objects):
        if sort in _OF_A_TABLE:
            # The table comes first, the trigger, rule or policy last.
            yield _expect_named(names[:-1], ACCESS_EXCLUSIVE, kind=None, children=None)
        elif sort == "OBJECT_INDEX":
            table_mode = None if stmt.concurrent else ACCESS_EXCLUSIVE
            yield _expect_named(names, ACCESS_EXCLUSIVE, kind="index", children=True, table_mode=table_mode)
        elif sort in KINDS:
            files = sort in ("OBJECT_TABLE", "OBJECT_MATVIEW")
            yield _expect_named(
                names, ACCESS_EXCLUSIVE, kind=KINDS[sort], also_indexes=files, children=sort == "OBJECT_TABLE"
            )
    if sort == "OBJECT_TABLE":
        yield expect_unnamed_lock(
            ACCESS_EXCLUSIVE, "the other tables of its foreign keys, its parent, and the sequences it owns"
        )
    if read_enum_name(stmt, "behavior") == "DROP_CASCADE" or sort == "OBJECT_EXTENSION":
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, _DEPENDENTS)


def _read_names(node: Any) -> list[str]:
    return [item.string.sval for item in node.list.items]


def _expect_named(names: list[str], mode: str, **details: Any) -> ExpectedLock:
    return ExpectedLock(names[-2] if len(names) > 1 else None, names[-1], mode, **details)


def _expect_rename(stmt: Any) -> Iterator[ExpectedLock]:
    sort = read_enum_name(stmt, "rename_type")
    if sort == "OBJECT_ATTRIBUTE":
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "the tables of that type")
    elif sort == "OBJECT_COLUMN":
        yield expect_lock(
            stmt.relation,
            ACCESS_EXCLUSIVE,
            KINDS.get(read_enum_name(stmt, "relation_type")),
            children=stmt.relation.inh,
        )
    elif sort == "OBJECT_TABCONSTRAINT" or sort in _OF_A_TABLE:
        yield expect_lock(stmt.relation, ACCESS_EXCLUSIVE, children=None)
    elif sort in KINDS and sort != "OBJECT_INDEX":
        yield expect_lock(stmt.relation, ACCESS_EXCLUSIVE, KINDS[sort])


def _expect_set_schema(stmt: Any) -> Iterator[ExpectedLock]:
    sort = read_enum_name(stmt, "object_type")
    if sort in KINDS:
        yield expect_lock(stmt.relation, ACCESS_EXCLUSIVE, KINDS[sort])
    if sort == "OBJECT_TABLE":
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence")


def _expect_reindex(stmt: Any) -> Iterator[ExpectedLock]:
    if is_option_on(stmt.params, "concurrently", default=False):
        return
    sort = read_enum_name(stmt, "kind")
    if sort == "REINDEX_OBJECT_TABLE":
        yield expect_lock(stmt.relation, SHARE, also_indexes=True, children=None)
    elif sort == "REINDEX_OBJECT_INDEX":
        yield expect_lock(stmt.relation, ACCESS_EXCLUSIVE, "index", children=None, table_mode=SHARE)
    else:
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "every index in it, with Share on the index's table")


def _expect_trigger(stmt: Any) -> Iterator[ExpectedLock]:
    yield expect_lock(stmt.relation, SHARE_ROW_EXCLUSIVE, children=None)


def _expect_of_relation(stmt: Any) -> Iterator[ExpectedLock]:
    yield expect_lock(stmt.relation, ACCESS_EXCLUSIVE)


def _expect_policy(stmt: Any) -> Iterator[ExpectedLock]:
    yield expect_lock(stmt.table, ACCESS_EXCLUSIVE)


def _expect_view(stmt: Any) -> Iterator[ExpectedLock]:
    # A view that does not exist yet cannot be locked; CREATE OR REPLACE may find one.
    if stmt.replace:
        yield expect_lock(stmt.view, ACCESS_EXCLUSIVE, "view")


def _expect_refresh(stmt: Any) -> Iterator[ExpectedLock]:
    mode = EXCLUSIVE if stmt.concurrent else ACCESS_EXCLUSIVE
    yield expect_lock(stmt.relation, mode, "matview", also_indexes=not stmt.concurrent)


def _expect_cluster(stmt: Any) -> Iterator[ExpectedLock]:
    if stmt.HasField("relation"):
        yield expect_lock(stmt.relation, ACCESS_EXCLUSIVE, also_indexes=True, children=None)
    else:
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "every table that has been clustered before")


def _expect_vacuum(stmt: Any) -> Iterator[ExpectedLock]:
    if not (stmt.is_vacuumcmd and is_option_on(stmt.options, "full", default=False)):
        return
    for relation in (node.vacuum_relation.relation for node in stmt.rels):
        yield expect_lock(relation, ACCESS_EXCLUSIVE, also_indexes=True, children=relation.inh)
    if not stmt.rels:
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "every table of the database")


def _expect_truncate(stmt: Any) -> Iterator[ExpectedLock]:
    for relation in (node.range_var for node in stmt.relations):
        yield expect_lock(relation, ACCESS_EXCLUSIVE, also_indexes=True, children=relation.inh)
    if read_enum_name(stmt, "behavior") == "DROP_CASCADE":
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "the tables that reference it")
    if stmt.restart_seqs:
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence")


def _expect_lock_table(stmt: Any) -> Iterator[ExpectedLock]:
    if stmt.mode in _MODES:
        for relation in (node.range_var for node in stmt.relations):
            yield expect_lock(relation, _MODES[stmt.mode], children=relation.inh)


def _expect_sequence(stmt: Any) -> Iterator[ExpectedLock]:
    yield expect_lock(stmt.sequence, SHARE_ROW_EXCLUSIVE, "sequence")


def _expect_domain(stmt: Any) -> Iterator[ExpectedLock]:
    # O: SET NOT NULL, V: VALIDATE CONSTRAINT, C: ADD CONSTRAINT. Each scans the tables that use the domain.
    checked = stmt.subtype in ("O", "V") or (
        stmt.subtype == "C" and not getattr(stmt, "def").constraint.skip_validation
    )
    if checked:
        name = ".".join(part.string.sval for part in stmt.type_name)
        yield expect_unnamed_lock(SHARE, f"every table with a column of domain {name}")
    if read_enum_name(stmt, "behavior") == "DROP_CASCADE":
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, _DEPENDENTS)


def _expect_move_all(_: Any) -> Iterator[ExpectedLock]:
    yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "every relation in that tablespace")


def _expect_owned(_: Any) -> Iterator[ExpectedLock]:
    yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "every relation that the role owns")


def _expect_explain(stmt: Any) -> Iterator[ExpectedLock]:
    return _expect_statement(stmt.query)


_HANDLERS: dict[str, Callable[[Any], Iterator[ExpectedLock]]] = {
    "alter_domain_stmt": _expect_domain,
    "alter_object_schema_stmt": _expect_set_schema,
    "alter_policy_stmt": _expect_policy,
    "alter_seq_stmt": _expect_sequence,
    "alter_table_move_all_stmt": _expect_move_all,
    "alter_table_stmt": expect_alter_table,
    "cluster_stmt": _expect_cluster,
    "create_foreign_table_stmt": _expect_create_foreign,
    "create_policy_stmt": _expect_policy,
    "create_schema_stmt": _expect_create_schema,
    "create_stmt": _expect_create,
    "create_trig_stmt": _expect_trigger,
    "drop_owned_stmt": _expect_owned,
    "drop_stmt": _expect_drop,
    "explain_stmt": _expect_explain,
    "index_stmt": _expect_index,
    "lock_stmt": _expect_lock_table,
    "reassign_owned_stmt": _expect_owned,
    "refresh_mat_view_stmt": _expect_refresh,
    "reindex_stmt": _expect_reindex,
    "rename_stmt": _expect_rename,
    "rule_stmt": _expect_of_relation,
    "truncate_stmt": _expect_truncate,
    "vacuum_stmt": _expect_vacuum,
    "view_stmt": _expect_view,
}
