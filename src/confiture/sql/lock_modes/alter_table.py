"""What ALTER TABLE locks: every subcommand has a mode of its own, and the strongest wins.

PostgreSQL decides it in ``AlterTableGetLockLevel``; the same here, measured on 15 and 18.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve

from confiture.models.report import RelationKind
from confiture.sql.lock_modes.expected_lock import (
    ACCESS_EXCLUSIVE,
    SHARE_ROW_EXCLUSIVE,
    Expected,
    on,
    unnamed,
)
from confiture.sql.parser import word

KINDS: dict[str, RelationKind] = {
    "OBJECT_TABLE": "table",
    "OBJECT_INDEX": "index",
    "OBJECT_VIEW": "view",
    "OBJECT_MATVIEW": "matview",
    "OBJECT_SEQUENCE": "sequence",
    "OBJECT_FOREIGN_TABLE": "foreign",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ShareUpdateExclusive, which blocks neither reads nor writes.
_WEAK = _words(
    "AT_SetStatistics AT_SetOptions AT_ResetOptions AT_ClusterOn AT_DropCluster AT_ValidateConstraint"
    " AT_AttachPartition AT_DetachPartitionFinalize"
)
_TRIGGERS = _words(
    "AT_EnableTrig AT_EnableAlwaysTrig AT_EnableReplicaTrig AT_EnableTrigAll AT_EnableTrigUser"
    " AT_DisableTrig AT_DisableTrigAll AT_DisableTrigUser"
)
_STORAGE = ("AT_SetRelOptions", "AT_ResetRelOptions", "AT_ReplaceRelOptions")
_WEAK_STORAGE = _words(
    "fillfactor toast_tuple_target parallel_workers log_autovacuum_min_duration vacuum_index_cleanup"
    " vacuum_truncate vacuum_max_eager_freeze_failure_rate deduplicate_items"
)

_INTO_CHILDREN = _words(
    "AT_AddColumn AT_AlterColumnType AT_ColumnDefault AT_SetNotNull AT_SetStorage"
    " AT_SetExpression AT_DropExpression"
)
# Those that have the constraint, the trigger or the identity; partitions only, or only since some version.
_INTO_SOME = _TRIGGERS | _words(
    "AT_DropNotNull AT_DropConstraint AT_AlterConstraint AT_AddIndexConstraint AT_AddIdentity"
    " AT_SetIdentity AT_DropIdentity"
)

_REBUILDS = _words("AT_SetLogged AT_SetUnLogged AT_SetExpression AT_ChangeOwner")
_MAY_REBUILD = _words(
    "AT_AlterColumnType AT_SetAccessMethod AT_DropColumn AT_DropConstraint AT_AddIndexConstraint"
)

_SERIAL = _words("serial bigserial smallserial serial2 serial4 serial8")
# Without these every plain type outside PostgreSQL's grammar might be a domain with a CHECK.
_PLAIN = _words(
    "text uuid json jsonb date bytea inet cidr macaddr xml money int2 int4 int8 float4 float8 numeric"
    " varchar bpchar bool timestamp timestamptz time timetz interval tsvector tsquery oid name"
)

_OTHERS = {
    "AT_DropConstraint": unnamed(ACCESS_EXCLUSIVE, "the other table, where it is a foreign key"),
    "AT_DropColumn": unnamed(ACCESS_EXCLUSIVE, "the other table of a foreign key, a sequence of its own"),
    "AT_AlterColumnType": unnamed(ACCESS_EXCLUSIVE, "the other table of a foreign key on the column"),
    "AT_AlterConstraint": unnamed(ACCESS_EXCLUSIVE, "the other table of the foreign key"),
    "AT_SetIdentity": unnamed(SHARE_ROW_EXCLUSIVE, "the column's own sequence", "sequence"),
    "AT_DropIdentity": unnamed(ACCESS_EXCLUSIVE, "the column's own sequence", "sequence"),
    "AT_ChangeOwner": unnamed(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence"),
    "AT_SetLogged": unnamed(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence"),
    "AT_SetUnLogged": unnamed(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence"),
    "AT_AttachPartition": unnamed(ACCESS_EXCLUSIVE, "the default partition, the tables its parent refers to"),
    "AT_DetachPartition": unnamed(ACCESS_EXCLUSIVE, "the default partition, the tables its parent refers to"),
}


def altered(stmt: Any) -> Iterator[Expected]:
    """Yield what an ALTER of a table, view, index, materialized view, sequence or foreign table locks."""
    kind = KINDS.get(word(stmt, "objtype"))
    for command in (each.alter_table_cmd for each in stmt.cmds):
        subtype = word(command, "subtype")
        if kind is None:
            yield from _cascaded(command)
            continue
        mode = _mode(command, subtype)
        if mode:
            yield on(stmt.relation, mode, kind, **_reach(stmt.relation, command, subtype, kind))
        yield from _others(command, subtype, kind)
        yield from _cascaded(command)


def _cascaded(command: Any) -> Iterator[Expected]:
    # Also ALTER TYPE of a composite type: its own relation is not one that is listed.
    if word(command, "behavior") == "DROP_CASCADE":
        yield unnamed(ACCESS_EXCLUSIVE, "what depends on it")


def _mode(command: Any, subtype: str) -> str | None:
    definition = getattr(command, "def")
    if subtype in _WEAK or (subtype == "AT_DetachPartition" and definition.partition_cmd.concurrent):
        return None
    if subtype in _STORAGE and all(_is_weak(each.def_elem.defname) for each in definition.list.items):
        return None
    foreign = subtype == "AT_AddConstraint" and word(definition.constraint, "contype") == "CONSTR_FOREIGN"
    return SHARE_ROW_EXCLUSIVE if foreign or subtype in _TRIGGERS else ACCESS_EXCLUSIVE


def _is_weak(option: str) -> bool:
    return option in _WEAK_STORAGE or option.startswith("autovacuum_")


def _reach(relation: Any, command: Any, subtype: str, kind: RelationKind) -> dict[str, bool | None]:
    """Say how far beyond the table itself a subcommand reaches."""
    children: bool | None = relation.inh and subtype in _INTO_CHILDREN and kind in ("table", "foreign")
    if subtype == "AT_AddConstraint":
        children = relation.inh and _constraint_reaches(getattr(command, "def").constraint)
    elif subtype in _INTO_SOME:
        children = None if relation.inh else False
    elif subtype == "AT_DropColumn":
        # With ONLY the children keep the column, as their own: that is written down there.
        children = relation.inh or None
    indexed = kind in ("table", "matview")
    return {"children": children, "also_indexes": indexed and _rebuilds(command, subtype)}


def _constraint_reaches(constraint: Any) -> bool | None:
    check = word(constraint, "contype") == "CONSTR_CHECK"
    return True if check and not constraint.is_no_inherit else None


def _rebuilds(command: Any, subtype: str) -> bool | None:
    if subtype == "AT_AddColumn":
        return _adding_rebuilds(getattr(command, "def").column_def)
    return True if subtype in _REBUILDS else None if subtype in _MAY_REBUILD else False


def _adding_rebuilds(column: Any) -> bool | None:
    """Whether a new column rewrites the table, and with it every index."""
    names = [each.string.sval for each in column.type_name.names]
    constraints = [each.constraint for each in column.constraints]
    kinds = {word(each, "contype") for each in constraints}
    stored = any(each.generated_kind == "s" for each in constraints)
    if names[-1] in _SERIAL or "CONSTR_IDENTITY" in kinds or stored:
        return True
    if names[0] != "pg_catalog" and not (len(names) == 1 and names[0] in _PLAIN):
        return None
    defaults = [each.raw_expr for each in constraints if word(each, "contype") == "CONSTR_DEFAULT"]
    return False if all(_is_constant(each) for each in defaults) else None


def _is_constant(expression: Any) -> bool:
    while expression.WhichOneof("node") == "type_cast":
        expression = expression.type_cast.arg
    return bool(expression.WhichOneof("node") == "a_const")


def _others(command: Any, subtype: str, kind: RelationKind) -> Iterator[Expected]:
    definition = getattr(command, "def")
    if subtype == "AT_AddColumn":
        yield from references(each.constraint for each in definition.column_def.constraints)
    elif subtype == "AT_AddConstraint":
        yield from references([definition.constraint])
    elif definition.HasField("partition_cmd") and definition.partition_cmd.HasField("name"):
        yield on(definition.partition_cmd.name, ACCESS_EXCLUSIVE, kind, children=kind != "index" or None)
    if subtype in _OTHERS and kind != "index":
        yield evolve(_OTHERS[subtype])


def references(constraints: Any) -> Iterator[Expected]:
    """Yield the tables that foreign keys refer to."""
    for constraint in constraints:
        if word(constraint, "contype") == "CONSTR_FOREIGN":
            yield on(constraint.pktable, SHARE_ROW_EXCLUSIVE, children=None)
