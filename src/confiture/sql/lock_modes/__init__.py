"""What locks a statement's text says it takes, Share and stronger.

In a rehearsal of several migrations in one transaction a lock that an earlier one already holds in the
same mode shows nowhere as new: then the text is asked. It cannot tell everything: what the server looks
up by itself (the other table of a foreign key that goes, what CASCADE finds) is *unnamed*, with words
for it. Functions and DO blocks are read by ``inside``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from confiture.sql.lock_modes.alter_table import KINDS, altered, references
from confiture.sql.lock_modes.expected_lock import (
    ACCESS_EXCLUSIVE,
    EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    Expected,
    on,
    strongest,
    unnamed,
)
from confiture.sql.parser import Unreadable, parse, word
from confiture.sql.transaction_block import switched_on

__all__ = ["Expected", "expected_locks"]

_MODES = {5: SHARE, 6: SHARE_ROW_EXCLUSIVE, 7: EXCLUSIVE, 8: ACCESS_EXCLUSIVE}
_DEPENDENTS = "what depends on it"
_OF_A_TABLE = ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY")


def expected_locks(sql: str) -> tuple[Expected, ...]:
    """Return what the statements of a text lock on relations that are there, each once.

    Nothing where the text does not parse, or where a statement locks nothing as strong as Share.
    """
    try:
        found = parse(sql)
    except Unreadable:
        return ()
    return strongest(lock for each in found for lock in _statement(each.node))


def _statement(node: Any) -> Iterator[Expected]:
    kind = node.WhichOneof("node") or ""
    judge = _JUDGES.get(kind)
    if judge:
        yield from judge(getattr(node, kind))


def _index(stmt: Any) -> Iterator[Expected]:
    if not stmt.concurrent:
        yield on(stmt.relation, SHARE, children=stmt.relation.inh)


def _create(stmt: Any) -> Iterator[Expected]:
    new = (stmt.relation.schemaname, stmt.relation.relname)
    columns = [each.column_def for each in stmt.table_elts if each.HasField("column_def")]
    constraints = [each.constraint for column in columns for each in column.constraints]
    constraints += [each.constraint for each in stmt.table_elts if each.HasField("constraint")]
    for constraint in constraints:
        if (constraint.pktable.schemaname, constraint.pktable.relname) != new:
            yield from references([constraint])
    if stmt.HasField("partbound"):
        yield on(stmt.inh_relations[0].range_var, ACCESS_EXCLUSIVE)
        yield unnamed(ACCESS_EXCLUSIVE, "the default partition")
        yield unnamed(SHARE_ROW_EXCLUSIVE, "the tables its parent refers to")


def _create_foreign(stmt: Any) -> Iterator[Expected]:
    return _create(stmt.base_stmt)


def _create_schema(stmt: Any) -> Iterator[Expected]:
    for element in stmt.schema_elts:
        yield from _statement(element)


def _drop(stmt: Any) -> Iterator[Expected]:
    sort = word(stmt, "remove_type")
    for names in (_names(each) for each in stmt.objects):
        if sort in _OF_A_TABLE:
            yield _named(names[:-1], ACCESS_EXCLUSIVE, kind=None, children=None)
        elif sort == "OBJECT_INDEX":
            table_mode = None if stmt.concurrent else ACCESS_EXCLUSIVE
            yield _named(names, ACCESS_EXCLUSIVE, kind="index", children=True, table_mode=table_mode)
        elif sort in KINDS:
            files = sort in ("OBJECT_TABLE", "OBJECT_MATVIEW")
            yield _named(
                names, ACCESS_EXCLUSIVE, kind=KINDS[sort], also_indexes=files, children=sort == "OBJECT_TABLE"
            )
    if sort == "OBJECT_TABLE":
        yield unnamed(ACCESS_EXCLUSIVE, "the other tables of its foreign keys, its parent, its own sequences")
    if word(stmt, "behavior") == "DROP_CASCADE" or sort == "OBJECT_EXTENSION":
        yield unnamed(ACCESS_EXCLUSIVE, _DEPENDENTS)


def _names(node: Any) -> list[str]:
    return [each.string.sval for each in node.list.items]


def _named(names: list[str], mode: str, **more: Any) -> Expected:
    return Expected(names[-2] if len(names) > 1 else None, names[-1], mode, **more)


def _rename(stmt: Any) -> Iterator[Expected]:
    sort = word(stmt, "rename_type")
    if sort == "OBJECT_ATTRIBUTE":
        yield unnamed(ACCESS_EXCLUSIVE, "the tables of that type")
    elif sort == "OBJECT_COLUMN":
        yield on(
            stmt.relation,
            ACCESS_EXCLUSIVE,
            KINDS.get(word(stmt, "relation_type")),
            children=stmt.relation.inh,
        )
    elif sort == "OBJECT_TABCONSTRAINT" or sort in _OF_A_TABLE:
        yield on(stmt.relation, ACCESS_EXCLUSIVE, children=None)
    elif sort in KINDS and sort != "OBJECT_INDEX":
        yield on(stmt.relation, ACCESS_EXCLUSIVE, KINDS[sort])


def _set_schema(stmt: Any) -> Iterator[Expected]:
    sort = word(stmt, "object_type")
    if sort in KINDS:
        yield on(stmt.relation, ACCESS_EXCLUSIVE, KINDS[sort])
    if sort == "OBJECT_TABLE":
        yield unnamed(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence")


def _reindex(stmt: Any) -> Iterator[Expected]:
    if switched_on(stmt.params, "concurrently", default=False):
        return
    sort = word(stmt, "kind")
    if sort == "REINDEX_OBJECT_TABLE":
        yield on(stmt.relation, SHARE, also_indexes=True, children=None)
    elif sort == "REINDEX_OBJECT_INDEX":
        yield on(stmt.relation, ACCESS_EXCLUSIVE, "index", children=None, table_mode=SHARE)
    else:
        yield unnamed(ACCESS_EXCLUSIVE, "every index there, with Share on its table")


def _trigger(stmt: Any) -> Iterator[Expected]:
    yield on(stmt.relation, SHARE_ROW_EXCLUSIVE, children=None)


def _of_relation(stmt: Any) -> Iterator[Expected]:
    yield on(stmt.relation, ACCESS_EXCLUSIVE)


def _policy(stmt: Any) -> Iterator[Expected]:
    yield on(stmt.table, ACCESS_EXCLUSIVE)


def _view(stmt: Any) -> Iterator[Expected]:
    if stmt.replace:
        yield on(stmt.view, ACCESS_EXCLUSIVE, "view")


def _refresh(stmt: Any) -> Iterator[Expected]:
    mode = EXCLUSIVE if stmt.concurrent else ACCESS_EXCLUSIVE
    yield on(stmt.relation, mode, "matview", also_indexes=not stmt.concurrent)


def _cluster(stmt: Any) -> Iterator[Expected]:
    if stmt.HasField("relation"):
        yield on(stmt.relation, ACCESS_EXCLUSIVE, also_indexes=True, children=None)
    else:
        yield unnamed(ACCESS_EXCLUSIVE, "every table that was clustered before")


def _vacuum(stmt: Any) -> Iterator[Expected]:
    if not (stmt.is_vacuumcmd and switched_on(stmt.options, "full", default=False)):
        return
    for each in (one.vacuum_relation.relation for one in stmt.rels):
        yield on(each, ACCESS_EXCLUSIVE, also_indexes=True, children=each.inh)
    if not stmt.rels:
        yield unnamed(ACCESS_EXCLUSIVE, "every table of the database")


def _truncate(stmt: Any) -> Iterator[Expected]:
    for each in (one.range_var for one in stmt.relations):
        yield on(each, ACCESS_EXCLUSIVE, also_indexes=True, children=each.inh)
    if word(stmt, "behavior") == "DROP_CASCADE":
        yield unnamed(ACCESS_EXCLUSIVE, "the tables that refer to it")
    if stmt.restart_seqs:
        yield unnamed(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence")


def _lock(stmt: Any) -> Iterator[Expected]:
    if stmt.mode in _MODES:
        for each in (one.range_var for one in stmt.relations):
            yield on(each, _MODES[stmt.mode], children=each.inh)


def _sequence(stmt: Any) -> Iterator[Expected]:
    yield on(stmt.sequence, SHARE_ROW_EXCLUSIVE, "sequence")


def _domain(stmt: Any) -> Iterator[Expected]:
    checked = stmt.subtype in ("O", "V") or (
        stmt.subtype == "C" and not getattr(stmt, "def").constraint.skip_validation
    )
    if checked:
        name = ".".join(each.string.sval for each in stmt.type_name)
        yield unnamed(SHARE, f"every table with a column of the domain {name}")
    if word(stmt, "behavior") == "DROP_CASCADE":
        yield unnamed(ACCESS_EXCLUSIVE, _DEPENDENTS)


def _move_all(_: Any) -> Iterator[Expected]:
    yield unnamed(ACCESS_EXCLUSIVE, "everything in that tablespace")


def _owned(_: Any) -> Iterator[Expected]:
    yield unnamed(ACCESS_EXCLUSIVE, "what belongs to that role")


def _explain(stmt: Any) -> Iterator[Expected]:
    return _statement(stmt.query)


_JUDGES: dict[str, Callable[[Any], Iterator[Expected]]] = {
    "alter_domain_stmt": _domain,
    "alter_object_schema_stmt": _set_schema,
    "alter_policy_stmt": _policy,
    "alter_seq_stmt": _sequence,
    "alter_table_move_all_stmt": _move_all,
    "alter_table_stmt": altered,
    "cluster_stmt": _cluster,
    "create_foreign_table_stmt": _create_foreign,
    "create_policy_stmt": _policy,
    "create_schema_stmt": _create_schema,
    "create_stmt": _create,
    "create_trig_stmt": _trigger,
    "drop_owned_stmt": _owned,
    "drop_stmt": _drop,
    "explain_stmt": _explain,
    "index_stmt": _index,
    "lock_stmt": _lock,
    "reassign_owned_stmt": _owned,
    "refresh_mat_view_stmt": _refresh,
    "reindex_stmt": _reindex,
    "rename_stmt": _rename,
    "rule_stmt": _of_relation,
    "truncate_stmt": _truncate,
    "vacuum_stmt": _vacuum,
    "view_stmt": _view,
}
