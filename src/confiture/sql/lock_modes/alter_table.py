"""Predict what ALTER TABLE locks: each subcommand has a lock mode, and the strongest one wins.

Follows PostgreSQL's ``AlterTableGetLockLevel``, and was measured on PostgreSQL 15 and 18.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve

from confiture.models.report import RelationKind
from confiture.sql.lock_modes.expected_lock import (
    ACCESS_EXCLUSIVE,
    SHARE_ROW_EXCLUSIVE,
    ExpectedLock,
    expect_lock,
    expect_unnamed_lock,
)
from confiture.sql.parser import read_enum_name

KINDS: dict[str, RelationKind] = {
    "OBJECT_TABLE": "table",
    "OBJECT_INDEX": "index",
    "OBJECT_VIEW": "view",
    "OBJECT_MATVIEW": "matview",
    "OBJECT_SEQUENCE": "sequence",
    "OBJECT_FOREIGN_TABLE": "foreign",
}


def _split_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ShareUpdateExclusive, which blocks neither reads nor writes.
_WEAK = _split_words(
    "AT_SetStatistics AT_SetOptions AT_ResetOptions AT_ClusterOn AT_DropCluster AT_ValidateConstraint"
    " AT_AttachPartition AT_DetachPartitionFinalize"
)
_TRIGGERS = _split_words(
    "AT_EnableTrig AT_EnableAlwaysTrig AT_EnableReplicaTrig AT_EnableTrigAll AT_EnableTrigUser"
    " AT_DisableTrig AT_DisableTrigAll AT_DisableTrigUser"
)
_STORAGE = ("AT_SetRelOptions", "AT_ResetRelOptions", "AT_ReplaceRelOptions")
_WEAK_STORAGE = _split_words(
    "fillfactor toast_tuple_target parallel_workers log_autovacuum_min_duration vacuum_index_cleanup"
    " vacuum_truncate vacuum_max_eager_freeze_failure_rate deduplicate_items"
)

_INTO_CHILDREN = _split_words(
    "AT_AddColumn AT_AlterColumnType AT_ColumnDefault AT_SetNotNull AT_SetStorage"
    " AT_SetExpression AT_DropExpression"
)
# Subcommands that lock only some of the children: those with the same constraint, trigger or identity, only
# partitions, or any at all only since some version of PostgreSQL.
_INTO_SOME = _TRIGGERS | _split_words(
    "AT_DropNotNull AT_DropConstraint AT_AlterConstraint AT_AddIndexConstraint AT_AddIdentity"
    " AT_SetIdentity AT_DropIdentity"
)

_REBUILDS = _split_words("AT_SetLogged AT_SetUnLogged AT_SetExpression AT_ChangeOwner")
_MAY_REBUILD = _split_words(
    "AT_AlterColumnType AT_SetAccessMethod AT_DropColumn AT_DropConstraint AT_AddIndexConstraint"
)

_SERIAL_TYPES = _split_words("serial bigserial smallserial serial2 serial4 serial8")
# The grammar does not know these types, so a column of one might be of a domain with the same name and a
# CHECK, which rewrites the table. Assume that nobody names a domain like a built-in type.
_PLAIN_TYPES = _split_words(
    "text uuid json jsonb date bytea inet cidr macaddr xml money int2 int4 int8 float4 float8 numeric"
    " varchar bpchar bool timestamp timestamptz time timetz interval tsvector tsquery oid name"
)

_OTHER_LOCKS = {
    "AT_DropConstraint": expect_unnamed_lock(ACCESS_EXCLUSIVE, "the other table if it is a foreign key"),
    "AT_DropColumn": expect_unnamed_lock(
        ACCESS_EXCLUSIVE, "the other table of a foreign key, the sequences that the column owns"
    ),
    "AT_AlterColumnType": expect_unnamed_lock(
        ACCESS_EXCLUSIVE, "the other table of a foreign key on the column"
    ),
    "AT_AlterConstraint": expect_unnamed_lock(ACCESS_EXCLUSIVE, "the other table of the foreign key"),
    "AT_SetIdentity": expect_unnamed_lock(SHARE_ROW_EXCLUSIVE, "the column's own sequence", "sequence"),
    "AT_DropIdentity": expect_unnamed_lock(ACCESS_EXCLUSIVE, "the column's own sequence", "sequence"),
    "AT_ChangeOwner": expect_unnamed_lock(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence"),
    "AT_SetLogged": expect_unnamed_lock(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence"),
    "AT_SetUnLogged": expect_unnamed_lock(ACCESS_EXCLUSIVE, "the sequences that its columns own", "sequence"),
    "AT_AttachPartition": expect_unnamed_lock(
        ACCESS_EXCLUSIVE, "the default partition, the tables its parent references"
    ),
    "AT_DetachPartition": expect_unnamed_lock(
        ACCESS_EXCLUSIVE, "the default partition, the tables its parent references"
    ),
}


def expect_alter_table(stmt: Any) -> Iterator[ExpectedLock]:
    """Yield the locks of an ALTER of a table, view, index, materialized view, sequence or foreign table."""
    kind = KINDS.get(read_enum_name(stmt, "objtype"))
    for command in (cmd.alter_table_cmd for cmd in stmt.cmds):
        subtype = read_enum_name(command, "subtype")
        if kind is None:
            yield from _expect_cascade(command)
            continue
        mode = _find_mode(command, subtype)
        if mode:
            yield expect_lock(stmt.relation, mode, kind, **_find_reach(stmt.relation, command, subtype, kind))
        yield from _expect_others(command, subtype, kind)
        yield from _expect_cascade(command)


def _expect_cascade(command: Any) -> Iterator[ExpectedLock]:
    # ALTER TYPE of a composite type gets here too; the type's own relation is never listed as locked.
    if read_enum_name(command, "behavior") == "DROP_CASCADE":
        yield expect_unnamed_lock(ACCESS_EXCLUSIVE, "what depends on it")


def _find_mode(command: Any, subtype: str) -> str | None:
    definition = getattr(command, "def")
    if subtype in _WEAK or (subtype == "AT_DetachPartition" and definition.partition_cmd.concurrent):
        return None
    if subtype in _STORAGE and all(_is_weak(item.def_elem.defname) for item in definition.list.items):
        return None
    foreign = (
        subtype == "AT_AddConstraint" and read_enum_name(definition.constraint, "contype") == "CONSTR_FOREIGN"
    )
    return SHARE_ROW_EXCLUSIVE if foreign or subtype in _TRIGGERS else ACCESS_EXCLUSIVE


def _is_weak(option: str) -> bool:
    return option in _WEAK_STORAGE or option.startswith("autovacuum_")


def _find_reach(relation: Any, command: Any, subtype: str, kind: RelationKind) -> dict[str, bool | None]:
    """Return whether a subcommand also locks the table's children and indexes."""
    children: bool | None = relation.inh and subtype in _INTO_CHILDREN and kind in ("table", "foreign")
    if subtype == "AT_AddConstraint":
        children = relation.inh and _constraint_reaches(getattr(command, "def").constraint)
    elif subtype in _INTO_SOME:
        children = None if relation.inh else False
    elif subtype == "AT_DropColumn":
        # With ONLY, the children keep the column; PostgreSQL marks it there as their own, under a lock.
        children = relation.inh or None
    indexed = kind in ("table", "matview")
    return {"children": children, "also_indexes": indexed and _rebuilds(command, subtype)}


def _constraint_reaches(constraint: Any) -> bool | None:
    check = read_enum_name(constraint, "contype") == "CONSTR_CHECK"
    return True if check and not constraint.is_no_inherit else None


def _rebuilds(command: Any, subtype: str) -> bool | None:
    if subtype == "AT_AddColumn":
        return _new_column_rebuilds(getattr(command, "def").column_def)
    return True if subtype in _REBUILDS else None if subtype in _MAY_REBUILD else False


def _new_column_rebuilds(column: Any) -> bool | None:
    """Return True if a new column rewrites the table and every index; ``None`` if only the server knows."""
    names = [name.string.sval for name in column.type_name.names]
    constraints = [constraint.constraint for constraint in column.constraints]
    kinds = {read_enum_name(constraint, "contype") for constraint in constraints}
    stored = any(constraint.generated_kind == "s" for constraint in constraints)
    if names[-1] in _SERIAL_TYPES or "CONSTR_IDENTITY" in kinds or stored:
        return True
    if not is_plain_type(column.type_name):
        return None
    defaults = [
        constraint.raw_expr
        for constraint in constraints
        if read_enum_name(constraint, "contype") == "CONSTR_DEFAULT"
    ]
    return False if all(_is_constant(default) for default in defaults) else None


def is_plain_type(type_name: Any) -> bool:
    """Return True for a type of PostgreSQL's, which is no domain."""
    names = [name.string.sval for name in type_name.names]
    return names[0] == "pg_catalog" or (len(names) == 1 and names[0] in _PLAIN_TYPES)


def _is_constant(expression: Any) -> bool:
    while expression.WhichOneof("node") == "type_cast":
        expression = expression.type_cast.arg
    return bool(expression.WhichOneof("node") == "a_const")


def _expect_others(command: Any, subtype: str, kind: RelationKind) -> Iterator[ExpectedLock]:
    definition = getattr(command, "def")
    if subtype == "AT_AddColumn":
        yield from expect_references(
            constraint.constraint for constraint in definition.column_def.constraints
        )
    elif subtype == "AT_AddConstraint":
        yield from expect_references([definition.constraint])
    elif definition.HasField("partition_cmd") and definition.partition_cmd.HasField("name"):
        yield expect_lock(
            definition.partition_cmd.name, ACCESS_EXCLUSIVE, kind, children=kind != "index" or None
        )
    if subtype in _OTHER_LOCKS and kind != "index":
        yield evolve(_OTHER_LOCKS[subtype])


def expect_references(constraints: Any) -> Iterator[ExpectedLock]:
    """Yield the locks on the tables that foreign keys reference."""
    for constraint in constraints:
        if read_enum_name(constraint, "contype") == "CONSTR_FOREIGN":
            yield expect_lock(constraint.pktable, SHARE_ROW_EXCLUSIVE, children=None)
