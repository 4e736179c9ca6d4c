"""Rules about creating, attaching, detaching and dropping partitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.rules.measurements import was_locked
from confiture.rules.parse_tree import QualifiedName, derive_name, list_commands, read_name, read_name_list
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import Recipe, write_non_transactional, write_part, write_recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.parser import deparse_statement, read_enum_name
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
            _render_attach_recipe(statement, child, tree, child),
        )


def _check_attach_default(statement: ParsedStatement) -> Iterator[Hit]:
    for parent, child, tree in _list_commands(statement, "AT_AttachPartition"):
        default = statement.migration.schema.defaults.get(parent)
        if default is not None and not statement.is_new(default) and not tree.bound.is_default:
            yield Hit(
                f"scans all of {default}, the default partition of {parent}, while blocking reads and writes",
                str(default),
                _render_attach_recipe(statement, default, tree, child, excluding=True),
            )


def _render_attach_recipe(
    statement: ParsedStatement,
    table: QualifiedName,
    tree: Any,
    child: QualifiedName,
    *,
    excluding: bool = False,
) -> Recipe:
    name = quote_ident(derive_name(table.name, child.name if excluding else "", "bounds"))
    bounds = _render_bounds(statement, read_name(statement.stmt.relation), tree.bound)
    # Rows that belong into the new partition may be in the default partition, so PostgreSQL scans that too,
    # unless a CHECK excludes them.
    check = f"NOT ({bounds})" if excluding else bounds
    # In three migrations, so that the scan of VALIDATE runs without the lock of ADD CONSTRAINT. After the
    # ATTACH the partition's bounds say what the CHECK says.
    return write_recipe(
        write_part(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({check}) NOT VALID;"),
        write_part(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};"),
        write_part(f"{statement.sql.rstrip().rstrip(';')};", f"ALTER TABLE {table} DROP CONSTRAINT {name};"),
    )


def _render_bounds(statement: ParsedStatement, parent: QualifiedName, bound: Any) -> str:
    """Return a partition's bounds as a condition.

    It has a placeholder for the key if neither the plan nor the catalog has the parent, and for the whole
    condition if the bounds are a hash or have several columns.
    """
    from confiture.sql.parser import deparse_expression

    columns: tuple[str, ...] = statement.migration.schema.partition_keys.get(
        parent, (f"key_of_{parent.name}",)
    )
    # IS NOT NULL is part of it: PostgreSQL's implicit partition constraint has it, and without it the CHECK
    # would not prove the constraint.
    if bound.strategy == "l":
        values = ", ".join(deparse_expression(listdatum) for listdatum in bound.listdatums)
        return f"{quote_ident(columns[0])} IS NOT NULL AND {quote_ident(columns[0])} IN ({values})"
    if bound.strategy == "r" and len(bound.lowerdatums) == 1:
        column = quote_ident(columns[0])
        ends = [
            f"{column} {sign} {deparse_expression(item)}"
            for sign, item in ((">=", bound.lowerdatums[0]), ("<", bound.upperdatums[0]))
            if not _is_endless(item)
        ]
        return " AND ".join((f"{column} IS NOT NULL", *ends))
    return "true /* replace with the bounds in FOR VALUES, as a condition */"


def _is_endless(node: Any) -> bool:
    fields = list(node.column_ref.fields) if node.HasField("column_ref") else []
    return bool(fields) and fields[-1].string.sval.lower() in ("minvalue", "maxvalue")


def _was_child_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the new partition, or a partition of it, was scanned."""
    known = statement.migration.schema
    defaults = [known.defaults.get(parent) for parent, *_ in _list_commands(statement, "AT_AttachPartition")]
    return any(
        not any(default and default.is_rel(rel) for default in defaults) for rel in _list_scans(statement)
    )


def _was_default_scanned(hit: Hit, statement: ParsedStatement) -> bool:
    """Return True if the default partition was scanned."""
    return any(rel.endswith(f".{hit.relation}") or rel == hit.relation for rel in _list_scans(statement))


def _list_scans(statement: ParsedStatement) -> tuple[str, ...]:
    return statement.report.scans if statement.report else ()


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
        # Since version 12 ATTACH takes only a ShareUpdateExclusive lock on the parent. The new table is
        # empty and nobody else uses it, so the scan of ATTACH costs nothing.
        write_recipe(
            write_part(
                f"CREATE TABLE {child}",
                f"  (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE);",
                f"ALTER TABLE {parent} ATTACH PARTITION {child} {_render_for_values(stmt)};",
            )
        ),
    )


def _render_for_values(stmt: Any) -> str:
    text = deparse_statement("create_stmt", stmt)
    at = text.upper().find("FOR VALUES")
    return text[at:] if at >= 0 else "DEFAULT"


def _check_detach(statement: ParsedStatement) -> Iterator[Hit]:
    for parent, child, tree in _list_commands(statement, "AT_DetachPartition"):
        if not tree.concurrent and not statement.is_new(parent):
            yield Hit(
                f"blocks reads and writes of {parent} until the migration ends",
                str(parent),
                write_recipe(
                    write_non_transactional(f"ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY;")
                ),
            )


def _check_drop(statement: ParsedStatement) -> Iterator[Hit]:
    if read_enum_name(statement.stmt, "remove_type") != "OBJECT_TABLE":
        return
    for child in (read_name_list(item.list.items) for item in statement.stmt.objects):
        parent = statement.migration.schema.partitions.get(child)
        if parent is not None:
            yield Hit(
                f"blocks reads and writes of {parent}, the parent of {child}, until the migration ends",
                str(parent),
                # Two migrations: CONCURRENTLY cannot run in a transaction. Dropping the detached table then
                # locks no parent.
                write_recipe(
                    write_non_transactional(f"ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY;"),
                    write_part(f"DROP TABLE {child};"),
                ),
            )


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
        confirmed_by=was_locked,
        kinds=("drop_stmt",),
        example=Example(_METRIC, "DROP TABLE metric_a;"),
    ),
)
