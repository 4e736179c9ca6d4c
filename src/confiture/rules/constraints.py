"""Rules of constraints: checking rows, building indexes, and both under a strong lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.rules.indexes import concurrently
from confiture.rules.measurements import scans, works
from confiture.rules.parse_tree import (
    Constraint,
    Name,
    added_constraints,
    columns_in,
    commands,
    constraints_of,
    constraints_within,
    derived,
    keys,
    name_in,
    name_of,
)
from confiture.rules.parsed_migration import Piece
from confiture.rules.recipes import Part, not_null, outside, part, recipe, validated_later
from confiture.rules.rule import Basis, Example, Hit, Rule
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_CUSTOMER = "CREATE TABLE customer (id bigint PRIMARY KEY);"


def _added(piece: Piece, sort: str) -> Iterator[Constraint]:
    """Yield the constraints of a sort that are added, checked at once, to a table that is there."""
    if read_enum_name(piece.stmt, "objtype") != "OBJECT_TABLE" or piece.is_new(name_of(piece.stmt.relation)):
        return
    for constraint in added_constraints(piece.stmt):
        if constraint.sort == sort and not constraint.tree.skip_validation and not constraint.tree.indexname:
            yield constraint


def _check(piece: Piece) -> Iterator[Hit]:
    for each in _added(piece, "CONSTR_CHECK"):
        table = name_of(piece.stmt.relation)
        columns = columns_in(each.tree.raw_expr)
        name = each.tree.conname or derived(table.name, columns[0] if len(columns) == 1 else "", "check")
        yield Hit(
            f"reads all of {table} while reads and writes of it wait: every row is checked",
            str(table),
            recipe(*_column_first(piece.stmt, each), *validated_later(piece.stmt, each, name)),
        )


def _column_first(stmt: Any, constraint: Constraint) -> tuple[Part, ...]:
    """Add the new column without the constraint behind it."""
    from confiture.rules.columns import bare
    from confiture.rules.recipes import altered

    column = constraint.column
    for command in commands(stmt):
        if column is None or command.sort != "AT_AddColumn":
            continue
        if command.definition.column_def.colname == column.colname:
            return (part(altered(stmt, [bare(command, constraint.sort)])),)
    return ()


def _foreign(piece: Piece) -> Iterator[Hit]:
    for each in _added(piece, "CONSTR_FOREIGN"):
        table, other = name_of(piece.stmt.relation), name_of(each.tree.pktable)
        name = each.tree.conname or derived(table.name, "_".join(keys(each)), "fkey")
        # A new column without a default holds nothing to be checked.
        empty = each.column is not None and not _has_default(each.column)
        yield Hit(
            f"locks {table} and {other}: writes to both wait"
            if empty
            else f"reads all of {table} while writes to it and to {other} wait",
            str(table),
            recipe(*_column_first(piece.stmt, each), *validated_later(piece.stmt, each, name)),
            severity="warning" if empty else None,
        )


def _has_default(column: Any) -> bool:
    return any(each.sort in ("CONSTR_DEFAULT", "CONSTR_GENERATED") for each in constraints_of(column))


def _foreign_seen(hit: Hit, piece: Piece) -> bool:
    return bool(piece.report and piece.report.locks) if hit.severity == "warning" else works(hit, piece)


def _indexed(piece: Piece, constraint: Constraint, label: str, name: str) -> tuple[Part, ...]:
    """Build the index beside the traffic, then make the constraint of it."""
    from postgast.pg_query_pb2 import IndexStmt

    table = name_of(piece.stmt.relation)
    index = IndexStmt(idxname=name, access_method="btree", unique=True, concurrent=True)
    index.relation.CopyFrom(piece.stmt.relation)
    index.nulls_not_distinct = constraint.tree.nulls_not_distinct
    for key in keys(constraint):
        index.index_params.add().index_elem.name = key
    for each in constraint.tree.including:
        index.index_including_params.add().index_elem.name = each.string.sval
    deferred = " DEFERRABLE" if constraint.tree.deferrable else ""
    deferred += " INITIALLY DEFERRED" if constraint.tree.initdeferred else ""
    index_name = quote_ident(name)
    add = f"ALTER TABLE {table} ADD CONSTRAINT {index_name} {label} USING INDEX {index_name}{deferred};"
    return (*_column_first(piece.stmt, constraint), outside(concurrently(index)), part(add))


def _unique(piece: Piece) -> Iterator[Hit]:
    for each in _added(piece, "CONSTR_UNIQUE"):
        table = name_of(piece.stmt.relation)
        name = each.tree.conname or derived(table.name, "_".join(keys(each)), "key")
        yield Hit(
            f"builds an index on {table} while reads and writes of it wait",
            str(table),
            recipe(*_indexed(piece, each, "UNIQUE", name)),
        )


def _primary(piece: Piece) -> Iterator[Hit]:
    for each in _added(piece, "CONSTR_PRIMARY"):
        table = name_of(piece.stmt.relation)
        name = each.tree.conname or derived(table.name, "", "pkey")
        filled = () if each.column is not None else not_null(table, *keys(each))
        yield Hit(
            f"builds an index on {table} while reads and writes of it wait",
            str(table),
            recipe(*filled, *_indexed(piece, each, "PRIMARY KEY", name)),
        )


def _primary_of_index(piece: Piece) -> Iterator[Hit]:
    if piece.is_new(name_of(piece.stmt.relation)):
        return
    for constraint in added_constraints(piece.stmt):
        if constraint.sort == "CONSTR_PRIMARY" and constraint.tree.indexname:
            table = name_of(piece.stmt.relation)
            yield Hit(
                f"reads all of {table} while reads and writes of it wait: "
                "a column of the index is not NOT NULL yet",
                str(table),
                recipe(*_filled_first(piece, constraint, table)),
            )


def _filled_first(piece: Piece, constraint: Constraint, table: Name) -> Iterator[Part]:
    """Make the columns of the index NOT NULL, those that the migrations before tell."""
    index = table.beside(constraint.tree.indexname)
    _, columns = piece.reading.known.indexes.get(index, (table, (f"column of {index}",)))
    yield from not_null(table, *columns)
    yield part(f"{piece.sql.rstrip().rstrip(';')};")


def _exclude(piece: Piece) -> Iterator[Hit]:
    for _ in _added(piece, "CONSTR_EXCLUSION"):
        table = name_of(piece.stmt.relation)
        yield Hit(f"builds an index on {table} while reads and writes of it wait", str(table))


def _set_not_null(piece: Piece) -> Iterator[Hit]:
    if piece.is_new(name_of(piece.stmt.relation)):
        return
    columns = [command.tree.name for command in commands(piece.stmt) if command.sort == "AT_SetNotNull"]
    if columns:
        table = name_of(piece.stmt.relation)
        yield Hit(
            f"reads all of {table} while reads and writes of it wait: no CHECK proves "
            f"that {', '.join(map(quote_ident, columns))} holds no NULL",
            str(table),
            recipe(*not_null(table, *columns)),
        )


def _same_transaction(piece: Piece) -> Iterator[Hit]:
    """Find a VALIDATE whose constraint, or whose table's strong lock, is of the same transaction."""
    if not piece.reading.transactional:
        return
    table = name_of(piece.stmt.relation)
    for command in commands(piece.stmt):
        if command.sort == "AT_ValidateConstraint" and not piece.is_new(table):
            adding = next(_adding(piece, table, command.tree.name), None)
            if adding is not None:
                yield Hit(
                    f"reads all of {table} under the lock that line {adding.line} has taken",
                    str(table),
                    recipe(part(_sql(adding)), part(_sql(piece))),
                )


def _adding(piece: Piece, table: Name, constraint: str) -> Iterator[Piece]:
    for each in piece.earlier:
        if each.kind == "alter_table_stmt" and name_of(each.stmt.relation) == table:
            names = [
                added.tree.conname for added in added_constraints(each.stmt) if added.tree.skip_validation
            ]
            if constraint in names or "" in names:
                yield each


def _sql(piece: Piece) -> str:
    return f"{piece.sql.rstrip().rstrip(';')};"


def _new_table(piece: Piece) -> Iterator[Hit]:
    table = name_of(piece.stmt.relation)
    for each in constraints_within(piece.stmt):
        other = name_of(each.pktable) if each.HasField("pktable") else table
        if other != table and not piece.is_new(other):
            yield Hit(f"locks {other} until the end of the migration: writes to it wait", str(other))


def _locks_named(hit: Hit, piece: Piece) -> bool:
    return any(hit.relation and lock.relation.endswith(hit.relation) for lock in _locks(piece))


def _locks(piece: Piece) -> tuple[Any, ...]:
    return piece.report.locks if piece.report else ()


def _drop_foreign(piece: Piece) -> Iterator[Hit]:
    if piece.report is None:
        return
    dropped = _dropped(piece)
    parents = _of_partitions(piece, dropped)
    others = [
        lock.relation
        for lock in _locks(piece)
        if dropped
        and lock.kind == "table"
        and not any(name.is_rel(lock.relation) for name in dropped + parents)
    ]
    if others and (piece.kind == "drop_stmt" or _drops_constraint(piece)):
        yield Hit(f"locks {others[0]} too: reads and writes of it wait", others[0])


def _of_partitions(piece: Piece, dropped: list[Name]) -> list[Name]:
    """Return what is locked as parent or as partition of what is dropped, not for a foreign key."""
    family = list(piece.reading.known.partitions.items())
    below = [child for child, parent in family if parent in dropped]
    for child, parent in family:
        below += [child] if parent in below else []
    return [*below, *(parent for _, parent in family)]


def _drops_constraint(piece: Piece) -> bool:
    return any(command.sort == "AT_DropConstraint" for command in commands(piece.stmt))


def _dropped(piece: Piece) -> list[Name]:
    if piece.kind == "alter_table_stmt":
        return [name_of(piece.stmt.relation)]
    if read_enum_name(piece.stmt, "remove_type") != "OBJECT_TABLE":
        return []
    return [name_in(each.list.items) for each in piece.stmt.objects]


def _domain(piece: Piece) -> Iterator[Hit]:
    stmt = piece.stmt
    domain = name_in(stmt.type_name)
    if stmt.subtype == "C" and not getattr(stmt, "def").constraint.skip_validation:
        constraint = getattr(stmt, "def").constraint
        name = quote_ident(constraint.conname or derived(domain.name, "", "check"))
        from confiture.sql.parser import deparse_expression

        check = deparse_expression(constraint.raw_expr)
        yield Hit(
            f"reads all of every table with a column of {domain} while writes to it wait",
            None,
            recipe(
                part(
                    "-- VALIDATE would read the tables while writes to them wait",
                    f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} CHECK ({check}) NOT VALID;",
                )
            ),
        )
    elif stmt.subtype == "V":
        yield Hit(f"reads all of every table with a column of {domain} while writes to it wait")
    elif stmt.subtype == "O":
        name = quote_ident(derived(domain.name, "", "filled"))
        yield Hit(
            f"reads all of every table with a column of {domain} while writes to it wait",
            None,
            recipe(part(f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} CHECK (VALUE IS NOT NULL) NOT VALID;")),
        )


def _long_rule(
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
        confirmed_by=more.pop("confirmed_by", works),
        kinds=more.pop("kinds", ("alter_table_stmt",)),
        example=example,
        **more,
    )


RULES = (
    _long_rule(
        "set-not-null-scan",
        "measured",
        "SET NOT NULL without a CHECK that proves it",
        "reads the whole table under an AccessExclusive lock; a valid CHECK (c IS NOT NULL) spares it that",
        _set_not_null,
        Example(_ORDERS, "ALTER TABLE orders ALTER COLUMN note SET NOT NULL;"),
        confirmed_by=scans,
        subcommands=("AT_SetNotNull",),
    ),
    _long_rule(
        "add-check-validated",
        "either",
        "ADD CHECK without NOT VALID",
        "reads the whole table under an AccessExclusive lock",
        _check,
        Example(_ORDERS, "ALTER TABLE orders ADD CHECK (qty > 0);"),
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _long_rule(
        "add-fk-validated",
        "either",
        "ADD FOREIGN KEY without NOT VALID",
        "reads the whole table under a ShareRowExclusive lock on it and on the table that it refers to",
        _foreign,
        Example(_ORDERS + _CUSTOMER, "ALTER TABLE orders ADD FOREIGN KEY (qty) REFERENCES customer (id);"),
        risk="writes to both tables wait until the last row is looked up",
        confirmed_by=_foreign_seen,
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _long_rule(
        "validate-in-same-transaction",
        "either",
        "NOT VALID and VALIDATE in one transaction",
        "keeps the strong lock of the ADD until the end, and reads the whole table under it",
        _same_transaction,
        Example(
            _ORDERS,
            "ALTER TABLE orders ADD CONSTRAINT orders_qty_check CHECK (qty > 0) NOT VALID;\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT orders_qty_check;",
        ),
        risk="NOT VALID has gained nothing: the table is blocked as without it",
        subcommands=("AT_ValidateConstraint",),
    ),
    _long_rule(
        "add-unique-builds-index",
        "either",
        "ADD UNIQUE without USING INDEX",
        "builds the index under an AccessExclusive lock",
        _unique,
        Example(_ORDERS, "ALTER TABLE orders ADD UNIQUE (note);"),
        risk="nobody reads or writes the table until the index is built",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _long_rule(
        "add-pk-builds-index",
        "either",
        "ADD PRIMARY KEY without USING INDEX",
        "builds the index under an AccessExclusive lock, and reads the table for NULLs",
        _primary,
        Example("CREATE TABLE raw (id bigint, note text);", "ALTER TABLE raw ADD PRIMARY KEY (id);"),
        risk="nobody reads or writes the table until the index is built",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _long_rule(
        "pk-using-nullable-index",
        "measured",
        "PRIMARY KEY USING INDEX on a column that may be NULL",
        "reads the whole table under an AccessExclusive lock to make the column NOT NULL",
        _primary_of_index,
        Example(
            "CREATE TABLE raw (id bigint, note text); CREATE UNIQUE INDEX raw_id_key ON raw (id);",
            "ALTER TABLE raw ADD CONSTRAINT raw_pkey PRIMARY KEY USING INDEX raw_id_key;",
        ),
        confirmed_by=scans,
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _long_rule(
        "add-exclusion-constraint",
        "either",
        "ADD … EXCLUDE",
        "builds the index under an AccessExclusive lock; there is no form of it that does not",
        _exclude,
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
        check=_new_table,
        confirmed_by=_locks_named,
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
        check=_drop_foreign,
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
        check=_domain,
        confirmed_by=works,
        kinds=("alter_domain_stmt",),
        example=Example(
            "CREATE DOMAIN amount AS int; CREATE TABLE tally (id int PRIMARY KEY, a amount);",
            "ALTER DOMAIN amount ADD CONSTRAINT amount_check CHECK (VALUE > 0);",
            differs="the CHECK is not tried on what is there",
        ),
    ),
)
