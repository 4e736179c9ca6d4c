"""Rules of constraints: checking rows, building indexes, and both under a strong lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.rules.indexes import render_concurrently
from confiture.rules.measurements import was_scanned, was_worked_on
from confiture.rules.parse_tree import (
    ParsedConstraint,
    QualifiedName,
    derive_name,
    find_columns,
    find_constraints,
    list_added_constraints,
    list_commands,
    list_constraints,
    list_keys,
    read_name,
    read_name_list,
)
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import (
    RecipePart,
    render_recipe,
    split_validation,
    write_non_transactional,
    write_not_null,
    write_part,
)
from confiture.rules.rule import Basis, Example, Hit, Rule
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_CUSTOMER = "CREATE TABLE customer (id bigint PRIMARY KEY);"


def _list_added(statement: ParsedStatement, sort: str) -> Iterator[ParsedConstraint]:
    """Yield the constraints of a sort that are added, checked at once, to a table that is there."""
    if read_enum_name(statement.stmt, "objtype") != "OBJECT_TABLE" or statement.is_new(
        read_name(statement.stmt.relation)
    ):
        return
    for constraint in list_added_constraints(statement.stmt):
        if constraint.sort == sort and not constraint.tree.skip_validation and not constraint.tree.indexname:
            yield constraint


def _check_check_constraint(statement: ParsedStatement) -> Iterator[Hit]:
    for constraint in _list_added(statement, "CONSTR_CHECK"):
        table = read_name(statement.stmt.relation)
        columns = find_columns(constraint.tree.raw_expr)
        name = constraint.tree.conname or derive_name(
            table.name, columns[0] if len(columns) == 1 else "", "check"
        )
        yield Hit(
            f"reads all of {table} while reads and writes of it wait: every row is checked",
            str(table),
            render_recipe(
                *_write_column_first(statement.stmt, constraint),
                *split_validation(statement.stmt, constraint, name),
            ),
        )


def _write_column_first(stmt: Any, constraint: ParsedConstraint) -> tuple[RecipePart, ...]:
    """Add the new column without the constraint behind it."""
    from confiture.rules.columns import strip_command
    from confiture.rules.recipes import render_alter

    column = constraint.column
    for command in list_commands(stmt):
        if column is None or command.sort != "AT_AddColumn":
            continue
        if command.definition.column_def.colname == column.colname:
            return (write_part(render_alter(stmt, [strip_command(command, constraint.sort)])),)
    return ()


def _check_foreign(statement: ParsedStatement) -> Iterator[Hit]:
    for constraint in _list_added(statement, "CONSTR_FOREIGN"):
        table, other = read_name(statement.stmt.relation), read_name(constraint.tree.pktable)
        name = constraint.tree.conname or derive_name(table.name, "_".join(list_keys(constraint)), "fkey")
        # A new column without a default holds nothing to be checked.
        empty = constraint.column is not None and not _has_default(constraint.column)
        yield Hit(
            f"locks {table} and {other}: writes to both wait"
            if empty
            else f"reads all of {table} while writes to it and to {other} wait",
            str(table),
            render_recipe(
                *_write_column_first(statement.stmt, constraint),
                *split_validation(statement.stmt, constraint, name),
            ),
            severity="warning" if empty else None,
        )


def _has_default(column: Any) -> bool:
    return any(
        constraint.sort in ("CONSTR_DEFAULT", "CONSTR_GENERATED") for constraint in list_constraints(column)
    )


def _was_foreign_locked(hit: Hit, statement: ParsedStatement) -> bool:
    return (
        bool(statement.report and statement.report.locks)
        if hit.severity == "warning"
        else was_worked_on(hit, statement)
    )


def _write_indexed(
    statement: ParsedStatement, constraint: ParsedConstraint, label: str, name: str
) -> tuple[RecipePart, ...]:
    """Build the index beside the traffic, then make the constraint of it."""
    from postgast.pg_query_pb2 import IndexStmt

    table = read_name(statement.stmt.relation)
    index = IndexStmt(idxname=name, access_method="btree", unique=True, concurrent=True)
    index.relation.CopyFrom(statement.stmt.relation)
    index.nulls_not_distinct = constraint.tree.nulls_not_distinct
    for key in list_keys(constraint):
        index.index_params.add().index_elem.name = key
    for item in constraint.tree.including:
        index.index_including_params.add().index_elem.name = item.string.sval
    deferred = " DEFERRABLE" if constraint.tree.deferrable else ""
    deferred += " INITIALLY DEFERRED" if constraint.tree.initdeferred else ""
    index_name = quote_ident(name)
    add = f"ALTER TABLE {table} ADD CONSTRAINT {index_name} {label} USING INDEX {index_name}{deferred};"
    return (
        *_write_column_first(statement.stmt, constraint),
        write_non_transactional(render_concurrently(index)),
        write_part(add),
    )


def _check_unique(statement: ParsedStatement) -> Iterator[Hit]:
    for constraint in _list_added(statement, "CONSTR_UNIQUE"):
        table = read_name(statement.stmt.relation)
        name = constraint.tree.conname or derive_name(table.name, "_".join(list_keys(constraint)), "key")
        yield Hit(
            f"builds an index on {table} while reads and writes of it wait",
            str(table),
            render_recipe(*_write_indexed(statement, constraint, "UNIQUE", name)),
        )


def _check_primary(statement: ParsedStatement) -> Iterator[Hit]:
    for constraint in _list_added(statement, "CONSTR_PRIMARY"):
        table = read_name(statement.stmt.relation)
        name = constraint.tree.conname or derive_name(table.name, "", "pkey")
        filled = () if constraint.column is not None else write_not_null(table, *list_keys(constraint))
        yield Hit(
            f"builds an index on {table} while reads and writes of it wait",
            str(table),
            render_recipe(*filled, *_write_indexed(statement, constraint, "PRIMARY KEY", name)),
        )


def _check_primary_of_index(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.is_new(read_name(statement.stmt.relation)):
        return
    for constraint in list_added_constraints(statement.stmt):
        if constraint.sort == "CONSTR_PRIMARY" and constraint.tree.indexname:
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"reads all of {table} while reads and writes of it wait: "
                "a column of the index is not NOT NULL yet",
                str(table),
                render_recipe(*_write_filled_first(statement, constraint, table)),
            )


def _write_filled_first(
    statement: ParsedStatement, constraint: ParsedConstraint, table: QualifiedName
) -> Iterator[RecipePart]:
    """Make the columns of the index NOT NULL, those that the migrations before tell."""
    index = table.name_sibling(constraint.tree.indexname)
    _, columns = statement.migration.schema.indexes.get(index, (table, (f"column of {index}",)))
    yield from write_not_null(table, *columns)
    yield write_part(f"{statement.sql.rstrip().rstrip(';')};")


def _check_exclude(statement: ParsedStatement) -> Iterator[Hit]:
    for _ in _list_added(statement, "CONSTR_EXCLUSION"):
        table = read_name(statement.stmt.relation)
        yield Hit(f"builds an index on {table} while reads and writes of it wait", str(table))


def _check_set_not_null(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.is_new(read_name(statement.stmt.relation)):
        return
    columns = [
        command.tree.name for command in list_commands(statement.stmt) if command.sort == "AT_SetNotNull"
    ]
    if columns:
        table = read_name(statement.stmt.relation)
        yield Hit(
            f"reads all of {table} while reads and writes of it wait: no CHECK proves "
            f"that {', '.join(map(quote_ident, columns))} holds no NULL",
            str(table),
            render_recipe(*write_not_null(table, *columns)),
        )


def _check_same_transaction(statement: ParsedStatement) -> Iterator[Hit]:
    """Find a VALIDATE whose constraint, or whose table's strong lock, is of the same transaction."""
    if not statement.migration.transactional:
        return
    table = read_name(statement.stmt.relation)
    for command in list_commands(statement.stmt):
        if command.sort == "AT_ValidateConstraint" and not statement.is_new(table):
            adding = next(_find_adding(statement, table, command.tree.name), None)
            if adding is not None:
                yield Hit(
                    f"reads all of {table} under the lock that line {adding.line} has taken",
                    str(table),
                    render_recipe(write_part(_render_sql(adding)), write_part(_render_sql(statement))),
                )


def _find_adding(
    statement: ParsedStatement, table: QualifiedName, constraint: str
) -> Iterator[ParsedStatement]:
    for inner in statement.earlier_statements:
        if inner.kind == "alter_table_stmt" and read_name(inner.stmt.relation) == table:
            names = [
                added.tree.conname
                for added in list_added_constraints(inner.stmt)
                if added.tree.skip_validation
            ]
            if constraint in names or "" in names:
                yield inner


def _render_sql(statement: ParsedStatement) -> str:
    return f"{statement.sql.rstrip().rstrip(';')};"


def _check_new_table(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    for constraint in find_constraints(statement.stmt):
        other = read_name(constraint.pktable) if constraint.HasField("pktable") else table
        if other != table and not statement.is_new(other):
            yield Hit(f"locks {other} until the end of the migration: writes to it wait", str(other))


def _was_named_locked(hit: Hit, statement: ParsedStatement) -> bool:
    return any(hit.relation and lock.relation.endswith(hit.relation) for lock in _find_locks(statement))


def _find_locks(statement: ParsedStatement) -> tuple[Any, ...]:
    return statement.report.locks if statement.report else ()


def _check_drop_foreign(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.report is None:
        return
    dropped = _list_dropped(statement)
    parents = _find_partition_keys(statement, dropped)
    others = [
        lock.relation
        for lock in _find_locks(statement)
        if dropped
        and lock.kind == "table"
        and not any(name.is_rel(lock.relation) for name in dropped + parents)
    ]
    if others and (statement.kind == "drop_stmt" or _drops_constraint(statement)):
        yield Hit(f"locks {others[0]} too: reads and writes of it wait", others[0])


def _find_partition_keys(statement: ParsedStatement, dropped: list[QualifiedName]) -> list[QualifiedName]:
    """Return what is locked as parent or as partition of what is dropped, not for a foreign key."""
    family = list(statement.migration.schema.partitions.items())
    below = [child for child, parent in family if parent in dropped]
    for child, parent in family:
        below += [child] if parent in below else []
    return [*below, *(parent for _, parent in family)]


def _drops_constraint(statement: ParsedStatement) -> bool:
    return any(command.sort == "AT_DropConstraint" for command in list_commands(statement.stmt))


def _list_dropped(statement: ParsedStatement) -> list[QualifiedName]:
    if statement.kind == "alter_table_stmt":
        return [read_name(statement.stmt.relation)]
    if read_enum_name(statement.stmt, "remove_type") != "OBJECT_TABLE":
        return []
    return [read_name_list(item.list.items) for item in statement.stmt.objects]


def _check_domain(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    domain = read_name_list(stmt.type_name)
    if stmt.subtype == "C" and not getattr(stmt, "def").constraint.skip_validation:
        constraint = getattr(stmt, "def").constraint
        name = quote_ident(constraint.conname or derive_name(domain.name, "", "check"))
        from confiture.sql.parser import deparse_expression

        check = deparse_expression(constraint.raw_expr)
        yield Hit(
            f"reads all of every table with a column of {domain} while writes to it wait",
            None,
            render_recipe(
                write_part(
                    "-- VALIDATE would read the tables while writes to them wait",
                    f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} CHECK ({check}) NOT VALID;",
                )
            ),
        )
    elif stmt.subtype == "V":
        yield Hit(f"reads all of every table with a column of {domain} while writes to it wait")
    elif stmt.subtype == "O":
        name = quote_ident(derive_name(domain.name, "", "filled"))
        yield Hit(
            f"reads all of every table with a column of {domain} while writes to it wait",
            None,
            render_recipe(
                write_part(
                    f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} CHECK (VALUE IS NOT NULL) NOT VALID;"
                )
            ),
        )


def _make_long_rule(
    id: str, basis: Basis, summary: str, effect: str, check: Any, example: Example | None, **more: Any
) -> Rule:
    return Rule(
        id=id,
        severity="error",
        basis=basis,
        summary=summary,
        effect=effect,
        risk=more.pop("risk", "nobody reads or writes the table until the last row is looked at"),
        check=check,
        confirmed_by=more.pop("confirmed_by", was_worked_on),
        kinds=more.pop("kinds", ("alter_table_stmt",)),
        example=example,
        **more,
    )


RULES = (
    _make_long_rule(
        "set-not-null-scan",
        "measured",
        "SET NOT NULL without a CHECK that proves it",
        "reads the whole table under an AccessExclusive lock; a valid CHECK (c IS NOT NULL) spares it that",
        _check_set_not_null,
        Example(_ORDERS, "ALTER TABLE orders ALTER COLUMN note SET NOT NULL;"),
        confirmed_by=was_scanned,
        subcommands=("AT_SetNotNull",),
    ),
    _make_long_rule(
        "add-check-validated",
        "either",
        "ADD CHECK without NOT VALID",
        "reads the whole table under an AccessExclusive lock",
        _check_check_constraint,
        Example(_ORDERS, "ALTER TABLE orders ADD CHECK (qty > 0);"),
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "add-fk-validated",
        "either",
        "ADD FOREIGN KEY without NOT VALID",
        "reads the whole table under a ShareRowExclusive lock on it and on the table that it refers to",
        _check_foreign,
        Example(_ORDERS + _CUSTOMER, "ALTER TABLE orders ADD FOREIGN KEY (qty) REFERENCES customer (id);"),
        risk="writes to both tables wait until the last row is looked up",
        confirmed_by=_was_foreign_locked,
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "validate-in-same-transaction",
        "either",
        "NOT VALID and VALIDATE in one transaction",
        "keeps the strong lock of the ADD until the end, and reads the whole table under it",
        _check_same_transaction,
        Example(
            _ORDERS,
            "ALTER TABLE orders ADD CONSTRAINT orders_qty_check CHECK (qty > 0) NOT VALID;\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT orders_qty_check;",
        ),
        risk="NOT VALID has gained nothing: the table is blocked as without it",
        subcommands=("AT_ValidateConstraint",),
    ),
    _make_long_rule(
        "add-unique-builds-index",
        "either",
        "ADD UNIQUE without USING INDEX",
        "builds the index under an AccessExclusive lock",
        _check_unique,
        Example(_ORDERS, "ALTER TABLE orders ADD UNIQUE (note);"),
        risk="nobody reads or writes the table until the index is built",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "add-pk-builds-index",
        "either",
        "ADD PRIMARY KEY without USING INDEX",
        "builds the index under an AccessExclusive lock, and reads the table for NULLs",
        _check_primary,
        Example("CREATE TABLE raw (id bigint, note text);", "ALTER TABLE raw ADD PRIMARY KEY (id);"),
        risk="nobody reads or writes the table until the index is built",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "pk-using-nullable-index",
        "measured",
        "PRIMARY KEY USING INDEX on a column that may be NULL",
        "reads the whole table under an AccessExclusive lock to make the column NOT NULL",
        _check_primary_of_index,
        Example(
            "CREATE TABLE raw (id bigint, note text); CREATE UNIQUE INDEX raw_id_key ON raw (id);",
            "ALTER TABLE raw ADD CONSTRAINT raw_pkey PRIMARY KEY USING INDEX raw_id_key;",
        ),
        confirmed_by=was_scanned,
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "add-exclusion-constraint",
        "either",
        "ADD … EXCLUDE",
        "builds the index under an AccessExclusive lock; there is no form of it that does not",
        _check_exclude,
        Example(_ORDERS, "ALTER TABLE orders ADD EXCLUDE USING btree (note WITH =);"),
        risk="nobody reads or writes the table until the index is built",
        remedy="a quiet window",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    Rule(
        id="new-table-fk-locks-referenced",
        severity="warning",
        basis="measured",
        summary="a new table that REFERENCES an old one",
        effect="takes a ShareRowExclusive lock on the old table until the migration's end",
        risk="writes to the old table wait for all the rest of the migration",
        check=_check_new_table,
        confirmed_by=_was_named_locked,
        kinds=("create_stmt",),
        example=Example(
            _CUSTOMER, "CREATE TABLE badge (id bigint PRIMARY KEY, owner bigint REFERENCES customer (id));"
        ),
        remedy="make it the last statement of a short migration, with a lock_timeout",
    ),
    Rule(
        id="drop-fk-locks-both",
        severity="warning",
        basis="measured",
        summary="dropping a foreign key, or its table",
        effect="takes an AccessExclusive lock on both tables",
        risk="reads and writes of the other table wait too, which nobody expects",
        check=_check_drop_foreign,
        rehearsed_only=True,
        kinds=("alter_table_stmt", "drop_stmt"),
        example=Example(
            f"{_CUSTOMER} CREATE TABLE badge (id bigint PRIMARY KEY, owner bigint REFERENCES customer (id));",
            "DROP TABLE badge;",
        ),
        remedy="a short migration with a lock_timeout",
    ),
    Rule(
        id="domain-constraint-validated",
        severity="error",
        basis="either",
        summary="ALTER DOMAIN ADD CHECK, SET NOT NULL or VALIDATE",
        effect="reads every table with a column of the domain under a Share lock",
        risk="writes to all these tables wait",
        check=_check_domain,
        confirmed_by=was_worked_on,
        kinds=("alter_domain_stmt",),
        example=Example(
            "CREATE DOMAIN amount AS int; CREATE TABLE tally (id int PRIMARY KEY, a amount);",
            "ALTER DOMAIN amount ADD CONSTRAINT amount_check CHECK (VALUE > 0);",
            differs="the CHECK is not tried on what is there",
        ),
    ),
)
