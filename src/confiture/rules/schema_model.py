"""What is known of the tables that a migration changes: from the migrations before it, or the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field, frozen

from confiture.rules.parse_tree import (
    Name,
    columns_in,
    commands,
    constraints_within,
    derived,
    name_in,
    name_of,
)
from confiture.rules.parsed_migration import Piece, Reading
from confiture.sql.parser import deparse_expression, deparse_type, read_enum_name


@frozen
class Check:
    """A CHECK of a table: its name, the columns it names, and its expression as SQL."""

    name: str
    columns: tuple[str, ...]
    expression: str


@frozen
class Domain:
    """The type below a domain, and what its CHECKs say of VALUE."""

    type_name: str
    checks: tuple[str, ...] = ()


@define
class Known:
    """What is known.

    Attributes:
        indexes: The columns of each index, and its table.
        partition_keys: The key's columns of each partitioned table.
        partitions: The parent of each partition.
        defaults: The default partition of each partitioned table.
        checks: Of each table that the catalog knows.
        made: The trees of the tables that the migrations make.
        domains: By name.
    """

    indexes: dict[Name, tuple[Name, tuple[str, ...]]] = field(factory=dict)
    partition_keys: dict[Name, tuple[str, ...]] = field(factory=dict)
    partitions: dict[Name, Name] = field(factory=dict)
    defaults: dict[Name, Name] = field(factory=dict)
    checks: dict[Name, tuple[Check, ...]] = field(factory=dict)
    made: dict[Name, Any] = field(factory=dict)
    domains: dict[Name, Domain] = field(factory=dict)

    def checks_of(self, table: Name) -> tuple[Check, ...]:
        """Return the CHECKs of a table."""
        if table not in self.made:
            return self.checks.get(table, ())
        trees = constraints_within(self.made[table])
        return tuple(
            _check(table, tree) for tree in trees if read_enum_name(tree, "contype") == "CONSTR_CHECK"
        )


def learn(known: Known, readings: Iterable[Reading]) -> Known:
    """Add what the text of these migrations tells, and return it."""
    for reading in readings:
        for piece in reading.pieces:
            _learn(known, piece)
    return known


def _learn(known: Known, piece: Piece) -> None:
    stmt = piece.stmt
    if piece.kind == "index_stmt" and stmt.idxname:
        table = name_of(stmt.relation)
        columns = tuple(parameter.index_elem.name for parameter in stmt.index_params)
        known.indexes[table.beside(stmt.idxname)] = (table, columns)
    elif piece.kind == "create_stmt":
        _learn_table(known, piece)
    elif piece.kind == "create_domain_stmt":
        trees = [constraint.constraint for constraint in stmt.constraints]
        checks = [tree.raw_expr for tree in trees if read_enum_name(tree, "contype") == "CONSTR_CHECK"]
        known.domains[name_in(stmt.domainname)] = Domain(
            deparse_type(stmt.type_name), tuple(map(deparse_expression, checks))
        )
    elif piece.kind == "alter_table_stmt":
        for command in commands(stmt):
            if command.sort == "AT_AttachPartition":
                child = command.definition.partition_cmd
                _learn_partition(known, name_of(stmt.relation), name_of(child.name), child.bound.is_default)


def _learn_table(known: Known, piece: Piece) -> None:
    stmt, table = piece.stmt, name_of(piece.stmt.relation)
    if stmt.HasField("partspec"):
        params = (parameter.partition_elem.name for parameter in stmt.partspec.part_params)
        known.partition_keys[table] = tuple(filter(None, params))
    if stmt.HasField("partbound"):
        parent = name_of(stmt.inh_relations[0].range_var)
        _learn_partition(known, parent, table, stmt.partbound.is_default)
    known.made[table] = stmt


def _check(table: Name, tree: Any) -> Check:
    columns = columns_in(tree.raw_expr)
    name = tree.conname or derived(table.name, columns[0] if len(columns) == 1 else "", "check")
    return Check(name, columns, deparse_expression(tree.raw_expr))


def _learn_partition(known: Known, parent: Name, child: Name, is_default: bool) -> None:
    known.partitions[child] = parent
    if is_default:
        known.defaults[parent] = child
