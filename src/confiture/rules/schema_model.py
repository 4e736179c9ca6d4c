"""Model the tables that a migration changes, from the text of the plan and from the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import define, field, frozen

from confiture.rules.parse_tree import (
    QualifiedName,
    TakenNames,
    derive_name,
    find_columns,
    find_constraints,
    list_commands,
    list_keys,
    list_table_constraints,
    name_constraint,
    read_name,
    read_name_list,
    render_type,
)
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.sql.parser import deparse_expression, deparse_type, read_enum_name
from confiture.sql.quote import quote_ident

LOOK_UP_METHODS = ("btree", "hash")
"""The kinds of index that find rows by the value of a column, as a foreign key or a WHERE asks for them."""

_INTEGERS = (
    *("int2", "int4", "int8"),
    *("smallserial", "serial", "bigserial", "serial2", "serial4", "serial8"),
)


@frozen
class CheckConstraint:
    """A CHECK of a table.

    Attributes:
        name: Its name.
        columns: The columns in its expression.
        expression: The expression as SQL.
        suffix: `` NO INHERIT``, or nothing.
    """

    name: str
    columns: tuple[str, ...]
    expression: str
    suffix: str = ""


@frozen
class DomainType:
    """What a domain says.

    Attributes:
        type_name: Its base type, which may be a domain too.
        checks: The expressions of its CHECKs, which call the value VALUE.
        not_null: True if it refuses NULL.
        default: Its default as SQL; ``None`` if it has none.
        collated: True if it has a collation of its own.
    """

    type_name: str
    checks: tuple[str, ...] = ()
    not_null: bool = False
    default: str | None = None
    collated: bool = False


@frozen
class ColumnFacts:
    """What the catalog says about a column.

    Attributes:
        not_null: True if it refuses NULL.
        default: Its default as SQL.
        type_name: Its type as SQL, with its collation if that is not the type's.
        not_null_name: The name of its NOT NULL, which has one since version 18.
        comment: Its comment.
        indexes: Name and definition of each index on it; with ``PRIMARY KEY USING INDEX ?`` or the like if
            the index belongs to a constraint, else an empty text.
        checks: Name and expression of each CHECK that names it.
        sequences: The sequences that it owns.
        obstacles: What else depends on it, in PostgreSQL's words.
    """

    not_null: bool = False
    default: str | None = None
    type_name: str = ""
    not_null_name: str | None = None
    comment: str | None = None
    indexes: tuple[tuple[str, str, str], ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    sequences: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()


@define
class SchemaModel:
    """What is known about the schema; each attribute is keyed by name.

    Attributes:
        indexes: The table and the columns of each index, ``None`` for an expression, and in an index that
            does not look rows up by their values, such as GIN.
        partial_indexes: The indexes that leave rows out.
        partition_keys: The partition key's columns of each partitioned table, ``None`` for an expression.
        partitions: The parent of each partition.
        defaults: The default partition of each partitioned table.
        checks: The CHECKs of each table in the catalog.
        created: The CREATE TABLE tree of each table that the migrations create.
        domains: The domains.
        constraints: The names of each table's constraints in the catalog.
        integer_keys: The column of each table's primary key, if it is one integer.
        unique_views: Materialized views in the catalog with an index that REFRESH CONCURRENTLY can use.
        unpopulated_views: Materialized views in the catalog that cannot be read before a REFRESH.
        update_triggers: Tables in the catalog with a trigger that runs for every updated row.
        after: True if the catalog was read after the migrations were committed, as in a clone.
        read_column: Asks the catalog about one column.
    """

    indexes: dict[QualifiedName, tuple[QualifiedName, tuple[str | None, ...]]] = field(factory=dict)
    partial_indexes: set[QualifiedName] = field(factory=set)
    partition_keys: dict[QualifiedName, tuple[str | None, ...]] = field(factory=dict)
    partitions: dict[QualifiedName, QualifiedName] = field(factory=dict)
    defaults: dict[QualifiedName, QualifiedName] = field(factory=dict)
    checks: dict[QualifiedName, tuple[CheckConstraint, ...]] = field(factory=dict)
    created: dict[QualifiedName, Any] = field(factory=dict)
    domains: dict[QualifiedName, DomainType] = field(factory=dict)
    constraints: dict[QualifiedName, frozenset[str]] = field(factory=dict)
    integer_keys: dict[QualifiedName, str] = field(factory=dict)
    unique_views: set[QualifiedName] = field(factory=set)
    unpopulated_views: set[QualifiedName] = field(factory=set)
    update_triggers: set[QualifiedName] = field(factory=set)
    after: bool = False
    read_column: Callable[[QualifiedName, str], ColumnFacts | None] | None = None

    def find_column(self, table: QualifiedName, column: str) -> ColumnFacts | None:
        """Return what the catalog says about a column; ``None`` without a catalog that has it."""
        return self.read_column(table, column) if self.read_column else None

    def list_leaves(self, table: QualifiedName) -> tuple[QualifiedName, ...]:
        """Return the partitions of a table that hold rows."""
        leaves: list[QualifiedName] = []
        for child in [child for child, parent in self.partitions.items() if parent == table]:
            leaves += self.list_leaves(child) if child in self.partition_keys else [child]
        return tuple(leaves)

    def find_taken_names(self, table: QualifiedName, statement: ParsedStatement) -> TakenNames:
        """Return the names that a new constraint or index of this table cannot have in a statement."""
        indexes = (index.name for index in self.indexes if index.schema == table.schema)
        taken = self.constraints.get(table, frozenset()).union(indexes)
        return TakenNames(taken if self.after else taken - _find_freed_names(statement), self.after)

    def list_checks(self, table: QualifiedName) -> tuple[CheckConstraint, ...]:
        """Return the CHECKs of a table."""
        # Read from the tree only when a rule asks: most rules never do, and lint reads many tables.
        if table not in self.created:
            return self.checks.get(table, ())
        trees = find_constraints(self.created[table])
        return tuple(
            _read_check(table, tree) for tree in trees if read_enum_name(tree, "contype") == "CONSTR_CHECK"
        )


def _find_freed_names(statement: ParsedStatement) -> frozenset[str]:
    """Return the names that the migration has dropped when the statement makes its own."""
    freed: set[str] = set()
    for earlier in (*statement.earlier_statements, statement):
        if earlier.kind == "drop_stmt" and read_enum_name(earlier.stmt, "remove_type") == "OBJECT_INDEX":
            freed.update(read_name_list(item.list.items).name for item in earlier.stmt.objects)
        elif earlier.kind == "index_stmt":
            freed.discard(earlier.stmt.idxname)
        elif earlier.kind == "alter_table_stmt":
            for command in list_commands(earlier.stmt):
                if command.sort == "AT_DropConstraint":
                    freed.add(command.tree.name)
                elif command.sort == "AT_AddConstraint":
                    freed.discard(command.definition.constraint.conname)
    return frozenset(freed)


def learn(known: SchemaModel, migrations: Iterable[ParsedMigration]) -> SchemaModel:
    """Add what the text of these migrations tells to ``known``, and return it."""
    for migration in migrations:
        for statement in migration.statements:
            _learn(known, statement)
    return known


def _learn(known: SchemaModel, statement: ParsedStatement) -> None:
    stmt = statement.stmt
    if statement.kind == "index_stmt" and stmt.idxname:
        table = read_name(stmt.relation)
        looks_up = (stmt.access_method or "btree") in LOOK_UP_METHODS
        columns = tuple(
            (parameter.index_elem.name or None) if looks_up else None for parameter in stmt.index_params
        )
        known.indexes[table.name_sibling(stmt.idxname)] = (table, columns)
        if stmt.HasField("where_clause") and not _is_not_null(stmt.where_clause, columns[0]):
            known.partial_indexes.add(table.name_sibling(stmt.idxname))
    elif statement.kind == "create_stmt":
        _learn_table(known, statement)
    elif statement.kind == "create_domain_stmt":
        trees = [constraint.constraint for constraint in stmt.constraints]
        checks = [tree.raw_expr for tree in trees if read_enum_name(tree, "contype") == "CONSTR_CHECK"]
        kinds = {read_enum_name(tree, "contype"): tree for tree in trees}
        default = kinds.get("CONSTR_DEFAULT")
        known.domains[read_name_list(stmt.domainname)] = DomainType(
            deparse_type(stmt.type_name),
            tuple(map(deparse_expression, checks)),
            "CONSTR_NOTNULL" in kinds,
            deparse_expression(default.raw_expr) if default else None,
            stmt.HasField("coll_clause"),
        )
    elif statement.kind == "rename_stmt" and read_enum_name(stmt, "rename_type") == "OBJECT_COLUMN":
        table = read_name(stmt.relation)
        if known.integer_keys.get(table) == stmt.subname:
            known.integer_keys[table] = stmt.newname
    elif statement.kind == "alter_table_stmt":
        for command in list_commands(stmt):
            # A constraint's name does not tell whether it is the key, unless the catalog was read afterwards.
            if command.sort in ("AT_DropColumn", "AT_DropConstraint") and not known.after:
                known.integer_keys.pop(read_name(stmt.relation), None)
            if command.sort == "AT_AttachPartition":
                child = command.definition.partition_cmd
                _learn_partition(
                    known, read_name(stmt.relation), read_name(child.name), child.bound.is_default
                )


def _is_not_null(node: Any, column: str | None) -> bool:
    text = deparse_expression(node)
    return column is not None and text == f"{quote_ident(column)} IS NOT NULL"


def _learn_table(known: SchemaModel, statement: ParsedStatement) -> None:
    stmt, table = statement.stmt, read_name(statement.stmt.relation)
    if stmt.HasField("partspec"):
        params = (parameter.partition_elem.name for parameter in stmt.partspec.part_params)
        known.partition_keys[table] = tuple(name or None for name in params)
    if stmt.HasField("partbound"):
        parent = read_name(stmt.inh_relations[0].range_var)
        _learn_partition(known, parent, table, stmt.partbound.is_default)
    known.created[table] = stmt
    if key := _find_integer_key(stmt):
        known.integer_keys.setdefault(table, key)
    known.constraints[table] = known.constraints.get(table, frozenset()).union(_name_constraints(stmt, table))


def _find_integer_key(stmt: Any) -> str | None:
    keys = [key for key in list_table_constraints(stmt) if key.sort == "CONSTR_PRIMARY"]
    columns = list_keys(keys[0]) if keys else ()
    for column in (elt.column_def for elt in stmt.table_elts if elt.HasField("column_def")):
        if columns == (column.colname,) and render_type(column.type_name) in _INTEGERS:
            return str(column.colname)
    return None


def _name_constraints(stmt: Any, table: QualifiedName) -> Iterator[str]:
    """Yield the names of a new table's constraints, those that PostgreSQL chooses too."""
    chosen: list[str] = []
    for constraint in list_table_constraints(stmt):
        words, label = name_constraint(constraint)
        if label:
            chosen.append(constraint.tree.conname or TakenNames().choose(table.name, words, label, chosen))
    yield from chosen


def _read_check(table: QualifiedName, tree: Any) -> CheckConstraint:
    columns = find_columns(tree.raw_expr)
    name = tree.conname or derive_name(table.name, columns[0] if len(columns) == 1 else "", "check")
    suffix = " NO INHERIT" if tree.is_no_inherit else ""
    return CheckConstraint(name, columns, deparse_expression(tree.raw_expr), suffix)


def _learn_partition(
    known: SchemaModel, parent: QualifiedName, child: QualifiedName, is_default: bool
) -> None:
    known.partitions[child] = parent
    if is_default:
        known.defaults[parent] = child
