"""Rules about creating, attaching, detaching and dropping partitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from confiture.rules.likelihood import is_always_likely, is_likely_unproven
from confiture.rules.measurements import list_scanned, was_locked
from confiture.rules.parse_tree import QualifiedName, derive_name, list_commands, read_name, read_name_list
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import (
    Recipe,
    RecipePart,
    copy_tree,
    write_non_transactional,
    write_part,
    write_recipe,
)
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.parser import deparse_expression, deparse_statement, read_enum_name
from confiture.sql.quote import quote_ident

_METRIC = (
    "CREATE TABLE metric (id bigint NOT NULL, at date NOT NULL, v int) PARTITION BY RANGE (at);"
    "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
)
_BESIDE = f"{_METRIC} CREATE TABLE metric_c (id bigint NOT NULL, at date NOT NULL, v int);"


def _list_commands(
    statement: ParsedStatement, sort: str
) -> Iterator[tuple[QualifiedName, QualifiedName, Any]]:
    """Yield the parent, the partition and the tree of each ATTACH or DETACH of an ALTER TABLE."""
    if read_enum_name(statement.stmt, "objtype") != "OBJECT_TABLE":
        return
    parent = read_name(statement.stmt.relation)
    for command in list_commands(statement.stmt):
        if command.sort == sort:
            tree = command.definition.partition_cmd
            yield parent, read_name(tree.name), tree


def _check_attach(statement: ParsedStatement) -> Iterator[Hit]:
    for _, child, tree in _list_commands(statement, "AT_AttachPartition"):
        if statement.is_new(child):
            continue
        yield Hit(
            f"scans all of {child} while blocking reads and writes: "
            "no CHECK proves that its rows are within the bounds",
            str(child),
            _write_attach(statement, child, tree),
        )


def _check_attach_default(statement: ParsedStatement) -> Iterator[Hit]:
    for parent, child, tree in _list_commands(statement, "AT_AttachPartition"):
        default = statement.migration.schema.defaults.get(parent)
        if default is not None and not statement.is_new(default) and not tree.bound.is_default:
            yield Hit(
                f"scans all of {default}, the default partition of {parent}, while blocking reads and writes",
                str(default),
                _write_attach(statement, child, tree),
            )


def _write_attach(statement: ParsedStatement, child: QualifiedName, tree: Any) -> Recipe | None:
    """Return the ATTACH after CHECKs that spare its scans; ``None`` if the bounds are no simple condition.

    Rows that belong into the new partition may be in the default partition, so PostgreSQL scans that too,
    unless a CHECK excludes them. Validated in a migration that does not hold the lock of ADD CONSTRAINT.
    """
    parent = read_name(statement.stmt.relation)
    bounds = _render_bounds(statement, parent, tree.bound)
    if bounds is None:
        return None
    checks = [] if statement.is_new(child) else [_make_check(child, "", bounds)]
    checks += _exclude_from_default(statement, parent, child, bounds)
    return write_recipe(
        *_write_checks(checks),
        # After the ATTACH the partition's bounds say what the CHECK says.
        write_part(
            *_explain_missing(statement, parent, child),
            f"{statement.sql.rstrip().rstrip(';')};",
            *_drop_checks(checks),
        ),
    )


def _explain_missing(
    statement: ParsedStatement, parent: QualifiedName, child: QualifiedName
) -> tuple[str, ...]:
    """Return a comment if the ATTACH built indexes or checked foreign keys: the recipe's would do so too."""
    known = (child, statement.migration.schema.defaults.get(parent))
    others = [rel for rel in list_scanned(statement) if not any(name and name.is_rel(rel) for name in known)]
    if not others and not (statement.report and statement.report.index_builds):
        return ()
    return (
        f"-- first give {child} the indexes (CONCURRENTLY) and foreign keys of {parent} that it lacks:",
        "-- ATTACH makes them while it blocks reads and writes",
    )


_Check = tuple[QualifiedName, str, str]


def _make_check(table: QualifiedName, words: str, condition: str) -> _Check:
    return table, quote_ident(derive_name(table.name, words, "bounds")), condition


def _exclude_from_default(
    statement: ParsedStatement, parent: QualifiedName, child: QualifiedName, bounds: str
) -> list[_Check]:
    default = statement.migration.schema.defaults.get(parent)
    if default is None or default == child or statement.is_new(default):
        return []
    return [_make_check(default, child.name, f"NOT ({bounds})")]


def _write_checks(checks: Iterable[_Check]) -> tuple[RecipePart, ...]:
    found = list(checks)
    if not found:
        return ()
    return (
        write_part(
            *(
                f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({text}) NOT VALID;"
                for table, name, text in found
            )
        ),
        write_part(*(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};" for table, name, _ in found)),
    )


def _drop_checks(checks: Iterable[_Check]) -> Iterator[str]:
    for table, name, _ in checks:
        yield f"ALTER TABLE {table} DROP CONSTRAINT {name};"


def _render_bounds(statement: ParsedStatement, parent: QualifiedName, bound: Any) -> str | None:
    """Return a partition's bounds as a condition; ``None`` for a hash, several columns or an expression."""
    columns = statement.migration.schema.partition_keys.get(parent, ())
    if len(columns) != 1 or columns[0] is None:
        return None
    column = quote_ident(columns[0])
    # IS NOT NULL is part of it: PostgreSQL's implicit partition constraint has it, and without it the CHECK
    # would not prove the constraint.
    if bound.strategy == "l":
        values = [deparse_expression(datum) for datum in bound.listdatums if not datum.a_const.isnull]
        among = f"{column} IN ({', '.join(values)})" if values else ""
        if len(values) < len(bound.listdatums):
            return f"{column} IS NULL OR {among}" if among else f"{column} IS NULL"
        return f"{column} IS NOT NULL AND {among}"
    if bound.strategy == "r" and len(bound.lowerdatums) == 1:
        ends = [
            f"{column} {sign} {deparse_expression(item)}"
            for sign, item in ((">=", bound.lowerdatums[0]), ("<", bound.upperdatums[0]))
            if not _is_endless(item)
        ]
        return " AND ".join((f"{column} IS NOT NULL", *ends))
    return None


def _is_endless(node: Any) -> bool:
    fields = list(node.column_ref.fields) if node.HasField("column_ref") else []
    return bool(fields) and fields[-1].string.sval.lower() in ("minvalue", "maxvalue")


def _was_child_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the new partition, or a partition of it, was scanned."""
    known = statement.migration.schema
    defaults = [known.defaults.get(parent) for parent, *_ in _list_commands(statement, "AT_AttachPartition")]
    return any(
        not any(default and default.is_rel(rel) for default in defaults) for rel in list_scanned(statement)
    )


def _was_default_scanned(hit: Hit, statement: ParsedStatement) -> bool:
    """Return True if the default partition was scanned."""
    return any(rel.endswith(f".{hit.relation}") or rel == hit.relation for rel in list_scanned(statement))


def _check_create(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if not stmt.HasField("partbound"):
        return
    parent, child = read_name(stmt.inh_relations[0].range_var), read_name(stmt.relation)
    if statement.is_new(parent):
        return
    yield Hit(
        f"blocks reads and writes of {parent} until the migration ends",
        str(parent),
        _write_attached(statement, parent, child),
    )


def _write_attached(statement: ParsedStatement, parent: QualifiedName, child: QualifiedName) -> Recipe | None:
    """Return the new partition as a table that is attached; ``None`` if it declares other columns.

    Since version 12 ATTACH takes only a ShareUpdateExclusive lock on the parent. The new table is empty and
    nobody else uses it, so the scan of ATTACH costs nothing.
    """
    stmt = statement.stmt
    bounds = _render_bounds(statement, parent, stmt.partbound)
    default = statement.migration.schema.defaults.get(parent)
    excluded = default is not None and not statement.is_new(default)
    if stmt.table_elts or stmt.if_not_exists or (excluded and bounds is None):
        return None
    checks = _exclude_from_default(statement, parent, child, bounds) if bounds else []
    return write_recipe(
        *_write_checks(checks),
        write_part(
            _render_like(stmt),
            f"ALTER TABLE {parent} ATTACH PARTITION {child} {_render_for_values(stmt)};",
            *_drop_checks(checks),
        ),
    )


# COMPRESSION, CONSTRAINTS, DEFAULTS, GENERATED and STORAGE of TableLikeOption in PostgreSQL's parsenodes.h.
_LIKE_OPTIONS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8


def _render_like(stmt: Any) -> str:
    """Return the CREATE TABLE of a partition as that of a table like the parent."""
    copied = copy_tree(stmt)
    copied.ClearField("partbound")
    like = copied.table_elts.add().table_like_clause
    like.relation.CopyFrom(stmt.inh_relations[0].range_var)
    like.options = _LIKE_OPTIONS
    del copied.inh_relations[:]
    return f"{deparse_statement('create_stmt', copied)};"


def _render_for_values(stmt: Any) -> str:
    copied = copy_tree(stmt)
    copied.ClearField("partspec")
    copied.tablespacename = copied.access_method = ""
    del copied.options[:]
    text = deparse_statement("create_stmt", copied)
    at = text.find(" FOR VALUES")
    return text[at + 1 :] if at >= 0 else "DEFAULT"


def _check_detach(statement: ParsedStatement) -> Iterator[Hit]:
    for parent, child, tree in _list_commands(statement, "AT_DetachPartition"):
        if not tree.concurrent and not statement.is_new(parent):
            detach = _write_detach(statement, parent, child)
            note = "-- differs: the table keeps its bounds as a CHECK"
            yield Hit(
                f"blocks reads and writes of {parent} until the migration ends"
                f"{_explain_default(statement, parent)}",
                str(parent),
                write_recipe(write_non_transactional(note, *detach)) if detach else None,
            )


def _write_detach(statement: ParsedStatement, parent: QualifiedName, child: QualifiedName) -> tuple[str, ...]:
    """Return a DETACH CONCURRENTLY; nothing beside a default partition, where PostgreSQL refuses it."""
    known = statement.migration.schema
    if parent in known.defaults:
        return ()
    note = () if parent in known.partition_keys else (f"-- refused if {parent} has a default partition",)
    return *note, f"ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY;"


def _explain_default(statement: ParsedStatement, parent: QualifiedName) -> str:
    default = statement.migration.schema.defaults.get(parent)
    return f"; CONCURRENTLY is refused beside the default partition {default}" if default else ""


def _check_drop(statement: ParsedStatement) -> Iterator[Hit]:
    if read_enum_name(statement.stmt, "remove_type") != "OBJECT_TABLE":
        return
    for child in (read_name_list(item.list.items) for item in statement.stmt.objects):
        parent = statement.migration.schema.partitions.get(child)
        if parent is not None:
            detach = _write_detach(statement, parent, child)
            yield Hit(
                f"blocks reads and writes of {parent}, the parent of {child}, until the migration ends"
                f"{_explain_default(statement, parent)}",
                str(parent),
                # Two migrations: CONCURRENTLY cannot run in a transaction. Dropping the detached table then
                # locks no parent.
                write_recipe(write_non_transactional(*detach), write_part(_render_drop(statement)))
                if detach
                else None,
            )


def _render_drop(statement: ParsedStatement) -> str:
    return f"{statement.sql.rstrip().rstrip(';')};"


RULES = (
    Rule(
        id="attach-partition-scan",
        severity="error",
        basis="measured",
        summary="ATTACH PARTITION of a table without a CHECK that proves its bounds",
        effect="scans the whole new partition under an AccessExclusive lock on it",
        risk="reads and writes of the new partition are blocked for the whole scan",
        check=_check_attach,
        confirmed_by=_was_child_scanned,
        likely_by_text=is_likely_unproven,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AttachPartition",),
        example=Example(
            _BESIDE,
            "ALTER TABLE metric ATTACH PARTITION metric_c FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');",
        ),
    ),
    Rule(
        id="attach-partition-default-scan",
        severity="error",
        basis="measured",
        summary="ATTACH PARTITION to a table that has a default partition",
        effect="scans the whole default partition under an AccessExclusive lock on it",
        risk="reads and writes of the default partition are blocked for the whole scan, "
        "and so are queries that read the whole partitioned table",
        check=_check_attach_default,
        confirmed_by=_was_default_scanned,
        likely_by_text=is_likely_unproven,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AttachPartition",),
        example=Example(
            f"{_BESIDE} CREATE TABLE metric_default PARTITION OF metric DEFAULT;"
            "INSERT INTO metric VALUES (1, '2025-01-01', 1);"
            "ALTER TABLE metric_c ADD CONSTRAINT metric_c_at"
            " CHECK (at >= '2024-03-01' AND at < '2024-04-01');",
            "ALTER TABLE metric ATTACH PARTITION metric_c FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');",
        ),
    ),
    Rule(
        id="create-partition-of-locks-parent",
        severity="warning",
        basis="either",
        summary="CREATE TABLE … PARTITION OF",
        effect="takes an AccessExclusive lock on the parent until the migration ends",
        risk="reads and writes of the whole partitioned table are blocked; ATTACH would not block them",
        check=_check_create,
        confirmed_by=was_locked,
        kinds=("create_stmt",),
        example=Example(
            _METRIC,
            "CREATE TABLE metric_d PARTITION OF metric FOR VALUES FROM ('2024-04-01') TO ('2024-05-01');",
        ),
    ),
    Rule(
        id="detach-partition-not-concurrent",
        severity="warning",
        basis="static",
        summary="DETACH PARTITION without CONCURRENTLY",
        effect="takes an AccessExclusive lock on the parent until the migration ends",
        risk="reads and writes of the whole partitioned table are blocked",
        check=_check_detach,
        kinds=("alter_table_stmt",),
        subcommands=("AT_DetachPartition",),
        example=Example(
            _METRIC,
            "ALTER TABLE metric DETACH PARTITION metric_a;",
            differs="CONCURRENTLY adds the bounds to the detached table as a CHECK",
        ),
    ),
    Rule(
        id="drop-partition-locks-parent",
        severity="warning",
        basis="measured",
        summary="DROP TABLE of a partition",
        effect="takes an AccessExclusive lock on the parent until the migration ends",
        risk="reads and writes of the whole partitioned table are blocked",
        check=_check_drop,
        likely_by_text=is_always_likely,
        confirmed_by=was_locked,
        kinds=("drop_stmt",),
        example=Example(_METRIC, "DROP TABLE metric_a;"),
    ),
)
