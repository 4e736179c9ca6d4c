"""Rules about constraints: scans and index builds under a strong lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confiture.rules.likelihood import is_always_likely, is_likely_unproven
from confiture.rules.measurements import find_present_name, was_scanned, was_unused, was_worked_on
from confiture.rules.parse_tree import (
    ParsedConstraint,
    QualifiedName,
    derive_name,
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
    write_part,
    write_recipe,
)
from confiture.rules.rule import Basis, Example, Hit, Rule
from confiture.rules.safe_alter import explain_lack, write_alter
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_CUSTOMER = "CREATE TABLE customer (id bigint PRIMARY KEY);"


def _list_added(statement: ParsedStatement, sort: str) -> Iterator[ParsedConstraint]:
    """Yield the constraints of a kind that are added to an existing table and checked at once."""
    # NOT VALID is checked later, and USING INDEX builds nothing.
    if read_enum_name(statement.stmt, "objtype") != "OBJECT_TABLE" or statement.is_new(
        read_name(statement.stmt.relation)
    ):
        return
    for constraint in list_added_constraints(statement.stmt):
        if constraint.sort == sort and not constraint.tree.skip_validation and not constraint.tree.indexname:
            yield constraint


def _check_check_constraint(statement: ParsedStatement) -> Iterator[Hit]:
    for _ in _list_added(statement, "CONSTR_CHECK"):
        table = read_name(statement.stmt.relation)
        yield Hit(
            f"scans all of {table} while blocking reads and writes: every row is checked",
            str(table),
            write_alter(statement),
        )


def _check_foreign(statement: ParsedStatement) -> Iterator[Hit]:
    for constraint in _list_added(statement, "CONSTR_FOREIGN"):
        table, other = read_name(statement.stmt.relation), read_name(constraint.tree.pktable)
        # A new column without a default holds only NULLs: nothing to check, but both tables are locked.
        empty = constraint.column is not None and not _has_default(constraint.column)
        yield Hit(
            f"blocks writes of {table} and {other} until the migration ends{explain_lack(statement)}"
            if empty
            else f"scans all of {table} while blocking writes of it and of {other}{explain_lack(statement)}",
            str(table),
            write_alter(statement),
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


def _make_index_check(sort: str) -> Any:
    def check(statement: ParsedStatement) -> Iterator[Hit]:
        for _ in _list_added(statement, sort):
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"builds an index on {table} while blocking reads and writes{explain_lack(statement)}",
                str(table),
                write_alter(statement),
            )

    return check


def _check_primary_of_index(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.is_new(read_name(statement.stmt.relation)):
        return
    for constraint in list_added_constraints(statement.stmt):
        if constraint.sort == "CONSTR_PRIMARY" and constraint.tree.indexname:
            table = read_name(statement.stmt.relation)
            yield Hit(
                f"scans all of {table} while blocking reads and writes: "
                "a column of the index is not NOT NULL yet",
                str(table),
                write_alter(statement),
            )


def _check_exclude(statement: ParsedStatement) -> Iterator[Hit]:
    # No recipe: PostgreSQL accepts neither NOT VALID nor USING INDEX for an exclusion constraint.
    for _ in _list_added(statement, "CONSTR_EXCLUSION"):
        table = read_name(statement.stmt.relation)
        yield Hit(f"builds an index on {table} while blocking reads and writes", str(table))


def _check_set_not_null(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.is_new(read_name(statement.stmt.relation)):
        return
    columns = [
        command.tree.name for command in list_commands(statement.stmt) if command.sort == "AT_SetNotNull"
    ]
    # PostgreSQL 18: ADD CONSTRAINT name NOT NULL column.
    for constraint in _list_added(statement, "CONSTR_NOTNULL"):
        columns += list_keys(constraint) if constraint.column is None else ()
    if columns:
        table = read_name(statement.stmt.relation)
        yield Hit(
            f"scans all of {table} while blocking reads and writes: no CHECK proves "
            f"that {', '.join(map(quote_ident, columns))} holds no NULL",
            str(table),
            write_alter(statement),
        )


def _check_same_transaction(statement: ParsedStatement) -> Iterator[Hit]:
    """Find a VALIDATE in the same transaction as the ADD … NOT VALID of its constraint.

    VALIDATE itself takes a weak lock, but the strong lock of ADD is held until the transaction ends.
    """
    if not statement.migration.transactional:
        return
    table = read_name(statement.stmt.relation)
    for command in list_commands(statement.stmt):
        if command.sort == "AT_ValidateConstraint" and not statement.is_new(table):
            adding = next(_find_adding(statement, table, command.tree.name), None)
            if adding is not None:
                yield Hit(
                    f"scans all of {table} under the lock that line {adding.line} took",
                    str(table),
                    write_recipe(
                        write_part(_render_sql(adding)),
                        write_part(_render_sql(statement)),
                        replaces=(adding.index,),
                    ),
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
            # An unnamed constraint gets its name from PostgreSQL; it may be the one that is validated.
            if constraint in names or "" in names:
                yield inner


def _render_sql(statement: ParsedStatement) -> str:
    return f"{statement.sql.rstrip().rstrip(';')};"


def _check_new_table(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    # The new table is empty, so nothing is scanned. But a foreign key creates triggers on the other table.
    for constraint in find_constraints(statement.stmt):
        other = read_name(constraint.pktable) if constraint.HasField("pktable") else table
        if other != table and not statement.is_new(other):
            yield Hit(f"blocks writes of {other} until the migration ends", str(other))


def _was_named_locked(hit: Hit, statement: ParsedStatement) -> bool:
    return any(hit.relation and lock.relation.endswith(hit.relation) for lock in _find_locks(statement))


def _find_locks(statement: ParsedStatement) -> tuple[Any, ...]:
    return statement.report.locks if statement.report else ()


def _check_drop_foreign(statement: ParsedStatement) -> Iterator[Hit]:
    # The text of DROP TABLE does not name the other table: only the locks of a rehearsal show it.
    if statement.report is None:
        return
    dropped = _list_dropped(statement)
    parents = _find_partition_keys(statement, dropped)
    own = dropped + parents
    others = [
        lock.relation
        for lock in _find_locks(statement)
        if dropped and lock.kind == "table" and not was_unused(statement, lock.relation)
        if not any(name.is_rel(str(find_present_name(statement, lock.relation))) for name in own)
    ]
    if others and (statement.kind == "drop_stmt" or _drops_constraint(statement)):
        yield Hit(f"blocks reads and writes of {others[0]} too, until the migration ends", others[0])


def _find_partition_keys(statement: ParsedStatement, dropped: list[QualifiedName]) -> list[QualifiedName]:
    """Return the parents and partitions of the dropped tables: they are not locked for a foreign key."""
    pairs = list(statement.migration.schema.partitions.items())
    descendants = [child for child, parent in pairs if parent in dropped]
    for child, parent in pairs:
        descendants += [child] if parent in descendants else []
    return [*descendants, *(parent for _, parent in pairs)]


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
    constraint = getattr(stmt, "def").constraint
    # The letters of AlterDomainStmt: C adds a constraint, O sets NOT NULL, V validates a constraint.
    if stmt.subtype == "C" and read_enum_name(constraint, "contype") == "CONSTR_CHECK":
        if constraint.skip_validation:
            return
        name = quote_ident(constraint.conname or derive_name(domain.name, "", "check"))
        from confiture.sql.parser import deparse_expression

        check = deparse_expression(constraint.raw_expr)
        yield Hit(
            f"scans every table with a column of {domain} while blocking writes",
            None,
            write_recipe(
                write_part(
                    "-- differs: the CHECK holds for new values only, because VALIDATE blocks writes",
                    f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} CHECK ({check}) NOT VALID;",
                )
            ),
        )
    elif stmt.subtype == "V":
        yield Hit(f"scans every table with a column of {domain} while blocking writes")
    elif stmt.subtype in ("C", "O"):
        # NOT NULL of a domain cannot be NOT VALID, a CHECK can. PostgreSQL 17 can name it.
        name = quote_ident(constraint.conname or derive_name(domain.name, "", "filled"))
        yield Hit(
            f"scans every table with a column of {domain} while blocking writes",
            None,
            write_recipe(
                write_part(
                    "-- differs: a CHECK refuses NULL, for new values only, because VALIDATE blocks writes",
                    f"ALTER DOMAIN {domain} ADD CONSTRAINT {name} CHECK (VALUE IS NOT NULL) NOT VALID;",
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
        risk=more.pop("risk", "reads and writes of the table are blocked for the whole scan"),
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
        "scans the whole table under an AccessExclusive lock, unless a valid CHECK (c IS NOT NULL) proves it",
        _check_set_not_null,
        Example(_ORDERS, "ALTER TABLE orders ALTER COLUMN note SET NOT NULL;"),
        confirmed_by=was_scanned,
        likely_by_text=is_likely_unproven,
        subcommands=("AT_SetNotNull", "AT_AddConstraint"),
    ),
    _make_long_rule(
        "add-check-validated",
        "either",
        "ADD CHECK without NOT VALID",
        "scans the whole table under an AccessExclusive lock",
        _check_check_constraint,
        Example(_ORDERS, "ALTER TABLE orders ADD CHECK (qty > 0);"),
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "add-fk-validated",
        "either",
        "ADD FOREIGN KEY without NOT VALID",
        "scans the whole table under a ShareRowExclusive lock on it and on the referenced table",
        _check_foreign,
        Example(_ORDERS + _CUSTOMER, "ALTER TABLE orders ADD FOREIGN KEY (qty) REFERENCES customer (id);"),
        risk="writes of both tables are blocked until every row is looked up",
        confirmed_by=_was_foreign_locked,
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "validate-in-same-transaction",
        "either",
        "NOT VALID and VALIDATE in one transaction",
        "holds the strong lock of ADD until the transaction ends, and scans the whole table under it",
        _check_same_transaction,
        Example(
            _ORDERS,
            "ALTER TABLE orders ADD CONSTRAINT orders_qty_check CHECK (qty > 0) NOT VALID;\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT orders_qty_check;",
        ),
        risk="the table is blocked for the whole scan, as it would be without NOT VALID",
        subcommands=("AT_ValidateConstraint",),
    ),
    _make_long_rule(
        "add-unique-builds-index",
        "either",
        "ADD UNIQUE without USING INDEX",
        "builds the index under an AccessExclusive lock",
        _make_index_check("CONSTR_UNIQUE"),
        Example(_ORDERS, "ALTER TABLE orders ADD UNIQUE (note);"),
        risk="reads and writes of the table are blocked until the index is built",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "add-pk-builds-index",
        "either",
        "ADD PRIMARY KEY without USING INDEX",
        "builds the index under an AccessExclusive lock, and scans the table for NULLs",
        _make_index_check("CONSTR_PRIMARY"),
        Example("CREATE TABLE raw (id bigint, note text);", "ALTER TABLE raw ADD PRIMARY KEY (id);"),
        risk="reads and writes of the table are blocked until the index is built",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    _make_long_rule(
        "pk-using-nullable-index",
        "measured",
        "PRIMARY KEY USING INDEX on a column that may be NULL",
        "scans the whole table under an AccessExclusive lock to make the column NOT NULL",
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
        "builds the index under an AccessExclusive lock; it has no concurrent form",
        _check_exclude,
        Example(_ORDERS, "ALTER TABLE orders ADD EXCLUDE USING btree (note WITH =);"),
        risk="reads and writes of the table are blocked until the index is built",
        remedy="run it at a time with little traffic",
        subcommands=("AT_AddConstraint", "AT_AddColumn"),
    ),
    Rule(
        id="new-table-fk-locks-referenced",
        severity="info",
        basis="measured",
        summary="a new table that REFERENCES an existing one",
        effect="takes a ShareRowExclusive lock on the referenced table until the migration ends",
        risk="writes of the referenced table are blocked for the rest of the migration",
        check=_check_new_table,
        confirmed_by=_was_named_locked,
        likely_by_text=is_always_likely,
        kinds=("create_stmt",),
        example=Example(
            _CUSTOMER, "CREATE TABLE badge (id bigint PRIMARY KEY, owner bigint REFERENCES customer (id));"
        ),
        remedy="make it the last statement of a short migration with a lock_timeout",
    ),
    Rule(
        id="drop-fk-locks-both",
        severity="warning",
        basis="measured",
        summary="dropping a foreign key, or a table that has one",
        effect="takes an AccessExclusive lock on both tables, because each has triggers of the foreign key",
        risk="reads and writes of the other table are blocked too, though the statement may not name it",
        check=_check_drop_foreign,
        rehearsed_only=True,
        kinds=("alter_table_stmt", "drop_stmt"),
        example=Example(
            f"{_CUSTOMER} CREATE TABLE badge (id bigint PRIMARY KEY, owner bigint REFERENCES customer (id));",
            "DROP TABLE badge;",
        ),
        remedy="drop it in a short migration with a lock_timeout",
    ),
    Rule(
        id="domain-constraint-validated",
        severity="error",
        basis="either",
        summary="ALTER DOMAIN ADD CHECK, SET NOT NULL or VALIDATE",
        effect="scans every table with a column of the domain under a Share lock",
        risk="writes of all these tables are blocked",
        check=_check_domain,
        confirmed_by=was_worked_on,
        kinds=("alter_domain_stmt",),
        example=Example(
            "CREATE DOMAIN amount AS int; CREATE TABLE tally (id int PRIMARY KEY, a amount);",
            "ALTER DOMAIN amount ADD CONSTRAINT amount_check CHECK (VALUE > 0);",
            differs="the CHECK is not validated for existing rows",
        ),
    ),
)
