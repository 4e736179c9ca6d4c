"""Add the constraints of an ALTER TABLE without blocking anybody for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confiture.rules.alter_steps import AlterSteps
from confiture.rules.parse_tree import (
    AlterCommand,
    ParsedConstraint,
    list_commands,
    list_constraints,
    list_keys,
    name_constraint,
    read_name,
)
from confiture.rules.recipes import copy_tree, render_alter, render_concurrently, set_enum
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident

# These are checked or built for every row; the others change only the catalog.
SEPARATE = ("CONSTR_CHECK", "CONSTR_FOREIGN", "CONSTR_UNIQUE", "CONSTR_PRIMARY")


def needs_index(stmt: Any) -> bool:
    """Return True if a command of the ALTER TABLE builds an index for a constraint."""
    return any(
        constraint.sort in ("CONSTR_UNIQUE", "CONSTR_PRIMARY") and not constraint.tree.indexname
        for command in list_commands(stmt)
        for constraint in list_of_command(command)
    )


def list_of_command(command: AlterCommand) -> list[ParsedConstraint]:
    """Return the constraints that a command adds."""
    if command.sort == "AT_AddColumn":
        return list(list_constraints(command.definition.column_def))
    if command.sort == "AT_AddConstraint":
        tree = command.definition.constraint
        return [ParsedConstraint(read_enum_name(tree, "contype"), tree)]
    return []


def add_constraint(steps: AlterSteps, command: AlterCommand, constraint: ParsedConstraint) -> bool:
    """Add a table constraint, and return False if it has no safe form."""
    tree = constraint.tree
    if constraint.sort == "CONSTR_PRIMARY" and tree.indexname:
        indexes = steps.statement.migration.schema.indexes
        # PostgreSQL has renamed the index, where the catalog was read after that.
        names = map(steps.table.name_sibling, (tree.indexname, tree.conname))
        columns = next((indexes[name][1] for name in names if name in indexes), ())
        if not columns or None in columns:
            return False
        steps.required += [column for column in columns if column]
        steps.last.append(render_alter(steps.statement.stmt, [command]))
        steps.last_undo.append(None)
    elif constraint.sort == "CONSTR_NOTNULL" and constraint.column is None and not tree.skip_validation:
        return add_checked(steps, constraint)
    elif tree.without_overlaps:
        # Its index is a gist one, and USING INDEX accepts only btree.
        return False
    elif constraint.sort not in SEPARATE or tree.skip_validation or tree.indexname:
        steps.kept.append(command)
    elif constraint.sort in ("CONSTR_CHECK", "CONSTR_FOREIGN"):
        return add_checked(steps, constraint)
    else:
        add_indexed(steps, constraint)
    return True


def add_checked(steps: AlterSteps, constraint: ParsedConstraint) -> bool:
    """Add a CHECK, FOREIGN KEY or NOT NULL: briefly as NOT VALID, and validated later without blocking.

    Two migrations, because in one the strong lock of the first would still be held during the scan.
    """
    tree = copy_tree(constraint.tree)
    if constraint.sort == "CONSTR_FOREIGN":
        if steps.table in steps.statement.migration.schema.partition_keys:
            # Before PostgreSQL 18 a foreign key of a partitioned table cannot be NOT VALID.
            return False
        # A column constraint does not name its column; a table constraint must.
        if constraint.column is not None:
            tree.fk_attrs.add().string.sval = constraint.column.colname
    tree.conname = tree.conname or steps.choose_name(*name_constraint(constraint))
    tree.skip_validation, tree.initially_valid = True, False
    command = make_add(steps, tree)
    own = constraint.sort == "CONSTR_FOREIGN" and read_name(tree.pktable) == steps.table
    if own and needs_index(steps.statement.stmt):
        steps.late.append(command)
    else:
        steps.kept.append(command)
        steps.validated.append(tree.conname)
    return True


def make_add(steps: AlterSteps, tree: Any) -> AlterCommand:
    """Return the command that adds a constraint."""
    command = copy_tree(steps.statement.stmt.cmds[0].alter_table_cmd)
    command.Clear()
    set_enum(command, "subtype", "AT_AddConstraint")
    getattr(command, "def").constraint.CopyFrom(tree)
    return AlterCommand("AT_AddConstraint", command)


def add_indexed(steps: AlterSteps, constraint: ParsedConstraint) -> None:
    """Add a UNIQUE or PRIMARY KEY: the index is built CONCURRENTLY, and the constraint uses it."""
    tree, keys = constraint.tree, list_keys(constraint)
    primary = constraint.sort == "CONSTR_PRIMARY"
    name = tree.conname or steps.choose_name(*name_constraint(constraint))
    if primary:
        steps.required += keys
    build = _render_index(steps, constraint, name, keys)
    steps.outside.append(build)
    steps.outside_undo.append(f"DROP INDEX CONCURRENTLY {steps.table.name_sibling(name)};")
    steps.last_undo.append((f"{steps.head} DROP CONSTRAINT {quote_ident(name)};", build))
    deferred = " DEFERRABLE" if tree.deferrable else ""
    deferred += " INITIALLY DEFERRED" if tree.initdeferred else ""
    label, index = "PRIMARY KEY" if primary else "UNIQUE", quote_ident(name)
    steps.last.append(f"{steps.head} ADD CONSTRAINT {index} {label} USING INDEX {index}{deferred};")


def _render_index(steps: AlterSteps, constraint: ParsedConstraint, name: str, keys: Sequence[str]) -> str:
    from postgast.pg_query_pb2 import IndexStmt

    tree = constraint.tree
    # The index has the constraint's name, because PostgreSQL renames it to that anyway. USING INDEX accepts
    # only a btree index.
    index = IndexStmt(idxname=name, access_method="btree", unique=True, table_space=tree.indexspace)
    index.relation.CopyFrom(steps.statement.stmt.relation)
    index.nulls_not_distinct = tree.nulls_not_distinct
    for key in keys:
        index.index_params.add().index_elem.name = key
    for item in tree.including:
        index.index_including_params.add().index_elem.name = item.string.sval
    for option in tree.options:
        index.options.add().CopyFrom(option)
    return render_concurrently(index, name)
