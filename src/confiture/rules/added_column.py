"""Add a column of an ALTER TABLE: what fills, checks or indexes every row comes step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from confiture.postgres.session import quote_literal
from confiture.rules.added_constraints import SEPARATE, add_checked, add_indexed, make_add
from confiture.rules.alter_steps import AlterSteps
from confiture.rules.column_values import SERIALS, VOLATILE, is_volatile, list_called
from confiture.rules.domains import find_domain, render_check
from confiture.rules.parse_tree import (
    AlterCommand,
    ParsedConstraint,
    derive_name,
    list_constraints,
    read_name_list,
    render_type,
)
from confiture.rules.recipes import copy_tree, set_enum, write_backfill
from confiture.sql.parser import deparse_expression
from confiture.sql.quote import quote_ident

_MODIFIERS = {
    "CONSTR_ATTR_DEFERRABLE": ("deferrable", True),
    "CONSTR_ATTR_NOT_DEFERRABLE": ("deferrable", False),
    "CONSTR_ATTR_DEFERRED": ("initdeferred", True),
    "CONSTR_ATTR_IMMEDIATE": ("initdeferred", False),
}


def add_column(steps: AlterSteps, command: AlterCommand) -> bool:
    """Add a column: without what fills, checks or indexes every row, and then that step by step."""
    column = command.definition.column_def
    constraints = _apply_modifiers(list(list_constraints(column)))
    sorts = {constraint.sort: constraint.tree for constraint in constraints}
    serial = SERIALS.get(render_type(column.type_name))
    default = sorts.get("CONSTR_DEFAULT")
    domain = None if "CONSTR_GENERATED" in sorts else find_domain(steps.statement, column)
    volatile = default is not None and is_volatile(default.raw_expr)
    stored = sorts.get("CONSTR_GENERATED")
    stored = stored if stored is not None and stored.generated_kind != "v" else None
    filled = volatile or serial is not None or "CONSTR_IDENTITY" in sorts or stored is not None
    dropped = [sort for sort in SEPARATE if sort in sorts]
    if filled:
        dropped += ["CONSTR_NOTNULL", "CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"]
    required = "CONSTR_NOTNULL" in sorts or serial is not None or "CONSTR_IDENTITY" in sorts
    if domain is not None and (
        filled or required or default is not None or domain.default or domain.not_null or domain.collated
    ):
        return False
    stripped = _strip_column(command, dropped, serial or (domain.type_name if domain else None))
    steps.kept.append(stripped)
    if command.tree.missing_ok and (filled or len(dropped) > 0):
        steps.differs.append(f"if {quote_ident(column.colname)} exists already, leave out what is done to it")
    if filled:
        steps.filled = True
        steps.nullable.add(column.colname)
        steps.required += [column.colname] if required or "CONSTR_PRIMARY" in sorts else []
        _fill_column(steps, column, sorts, serial, stored)
        if name := sorts["CONSTR_NOTNULL"].conname if "CONSTR_NOTNULL" in sorts else "":
            steps.differs.append(f"on PostgreSQL 18, the NOT NULL is not called {quote_ident(name)}")
    elif "CONSTR_PRIMARY" in sorts and default is None:
        return False
    if domain is not None:
        _check_domain(steps, column, domain)
    for constraint in constraints:
        if constraint.sort in ("CONSTR_CHECK", "CONSTR_FOREIGN"):
            if not add_checked(steps, constraint):
                return False
        elif constraint.sort in ("CONSTR_UNIQUE", "CONSTR_PRIMARY"):
            add_indexed(steps, constraint)
    return True


def _apply_modifiers(constraints: list[ParsedConstraint]) -> list[ParsedConstraint]:
    """Return the constraints, with DEFERRABLE and the like applied to the one that they follow."""
    result: list[ParsedConstraint] = []
    for constraint in constraints:
        if constraint.sort in _MODIFIERS and result:
            attribute, value = _MODIFIERS[constraint.sort]
            tree = copy_tree(result[-1].tree)
            setattr(tree, attribute, value)
            # INITIALLY DEFERRED alone means DEFERRABLE too.
            tree.deferrable = tree.deferrable or tree.initdeferred
            result[-1] = evolve(result[-1], tree=tree)
        else:
            result.append(constraint)
    return result


def _strip_column(
    command: AlterCommand, dropped: Sequence[str], type_name: str | None = None
) -> AlterCommand:
    """Return a copy of an ADD COLUMN without the constraints of these kinds, and with another type."""
    from confiture.sql.parser import parse_type

    tree = copy_tree(command.tree)
    column = getattr(tree, "def").column_def
    kept, keep = [], True
    for constraint in list_constraints(column):
        # A modifier goes with the constraint that it follows.
        keep = keep if constraint.sort in _MODIFIERS else constraint.sort not in dropped
        kept += [copy_tree(constraint.tree)] if keep else []
    del column.constraints[:]
    for copy in kept:
        column.constraints.add().constraint.CopyFrom(copy)
    if type_name:
        column.type_name.CopyFrom(parse_type(type_name))
    return AlterCommand(command.sort, tree)


def _fill_column(
    steps: AlterSteps, column: Any, sorts: dict[str, Any], serial: str | None, stored: Any | None
) -> None:
    name, table = quote_ident(column.colname), steps.table
    condition = None
    value, may_be_null = "DEFAULT", False
    if serial:
        sequence = table.name_sibling(derive_name(table.name, column.colname, "seq"))
        # The steps that `serial` stands for. OWNED BY drops the sequence together with the column.
        steps.brief += [
            f"CREATE SEQUENCE {sequence} AS {serial} OWNED BY {table}.{name};",
            f"{steps.head} ALTER COLUMN {name} SET DEFAULT nextval({quote_literal(str(sequence))});",
        ]
    elif "CONSTR_IDENTITY" in sorts:
        _number_column(steps, column, sorts["CONSTR_IDENTITY"])
    elif stored is not None:
        value = _keep_by_trigger(steps, column, stored)
        condition = f"{name} IS NULL AND ({value}) IS NOT NULL"
    else:
        # SET DEFAULT by itself changes only the catalog, and comes before the backfill so that rows which are
        # inserted during it have a value.
        text = deparse_expression(sorts["CONSTR_DEFAULT"].raw_expr)
        steps.brief.append(f"{steps.head} ALTER COLUMN {name} SET DEFAULT {text};")
        # The result of an unknown function is unknown too.
        may_be_null = not VOLATILE.issuperset(list_called(sorts["CONSTR_DEFAULT"].raw_expr))
        # NULLIF and CASE can be NULL, whatever their functions return.
        may_be_null = may_be_null or any(word in text.upper() for word in ("NULL", "CASE"))
    known = steps.statement.migration.schema
    # A ctid is unique in one partition only.
    for leaf in known.list_leaves(table) if table in known.partition_keys else (table,):
        steps.outside += write_backfill(leaf, column.colname, value, condition, may_be_null=may_be_null).lines
    if table in known.update_triggers:
        steps.differs.append(f"the UPDATE triggers of {table} run for every row that is filled")


def _number_column(steps: AlterSteps, column: Any, identity: Any) -> None:
    """Number the rows from a temporary sequence, and let the identity go on with its next value.

    ADD GENERATED refuses a column that may be NULL or that has a default.
    """
    table, name = steps.table, quote_ident(column.colname)
    kind = "ALWAYS" if identity.generated_when == "a" else "BY DEFAULT"
    options = _render_options(identity)
    filling = table.name_sibling(derive_name(table.name, column.colname, "filling"))
    steps.brief += [
        f"CREATE SEQUENCE {filling}{f' {options}' if options else ''};",
        f"{steps.head} ALTER COLUMN {name} SET DEFAULT nextval({quote_literal(str(filling))});",
    ]
    steps.brief_undo += [f"{steps.head} ALTER COLUMN {name} DROP DEFAULT;", f"DROP SEQUENCE {filling};"]
    own = f"pg_get_serial_sequence({quote_literal(str(table))}, {quote_literal(column.colname)})"
    # The temporary sequence cannot have that name too.
    listed = " ".join(filter(None, (_render_sequence_name(identity), options)))
    kind += f" AS IDENTITY ({listed})" if listed else " AS IDENTITY"
    steps.ends += [
        f"{steps.head} ALTER COLUMN {name} DROP DEFAULT;",
        f"{steps.head} ALTER COLUMN {name} ADD GENERATED {kind};",
        f"SELECT setval({own}, nextval({quote_literal(str(filling))}), false);",
        f"DROP SEQUENCE {filling};",
    ]


def _render_sequence_name(identity: Any) -> str:
    for option in identity.options:
        if option.def_elem.defname == "sequence_name":
            return f"SEQUENCE NAME {read_name_list(option.def_elem.arg.list.items)}"
    return ""


def _render_options(identity: Any) -> str:
    """Return the options of an identity's sequence, ``START 10``."""
    from postgast.pg_query_pb2 import CreateSeqStmt

    from confiture.sql.parser import deparse_statement

    sequence = CreateSeqStmt()
    sequence.sequence.relname, sequence.sequence.inh, sequence.sequence.relpersistence = "s", True, "p"
    for option in identity.options:
        if option.def_elem.defname != "sequence_name":
            sequence.options.add().CopyFrom(option)
    return deparse_statement("create_seq_stmt", sequence).removeprefix("CREATE SEQUENCE s").strip()


def _keep_by_trigger(steps: AlterSteps, column: Any, generated: Any) -> str:
    """Let a trigger keep the column, which comes before the backfill: rows written during it have a value."""
    table, name, value = steps.table, quote_ident(column.colname), deparse_expression(generated.raw_expr)
    function = table.name_sibling(derive_name(table.name, column.colname, "kept"))
    # PostgreSQL runs triggers by name: this one must see what the others have made of the row.
    trigger = quote_ident(derive_name(f"zz_{table.name}", column.colname, "kept"))
    steps.differs.append(f"a trigger keeps {name}, which is no generated column")
    steps.brief += [
        f"-- without a rewrite on PostgreSQL 18: ADD COLUMN … GENERATED ALWAYS AS ({value}) VIRTUAL",
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $kept$",
        "BEGIN",
        f"  NEW.{name} := (SELECT {value} FROM (SELECT NEW.*) AS {quote_ident(table.name)});",
        "  RETURN NEW;",
        "END $kept$;",
        f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
        f"  EXECUTE FUNCTION {function}();",
    ]
    steps.brief_undo += [f"DROP TRIGGER {trigger} ON {table};", f"DROP FUNCTION {function}();"]
    return value


def _check_domain(steps: AlterSteps, column: Any, domain: Any) -> None:
    """Give the column the domain's base type, and the table the domain's CHECKs.

    A CHECK of the table can be NOT VALID and validated later; that of a domain is checked at once.
    """
    from confiture.sql.parser import parse_expression

    name = quote_ident(column.colname)
    steps.differs.append(
        f"{name} has the type {domain.type_name}, and the CHECKs of the domain belong to the table"
    )
    for check in domain.checks:
        constraint = _make_check()
        constraint.raw_expr.CopyFrom(parse_expression(render_check(check, name)))
        constraint.conname = steps.choose_name(column.colname, "check")
        steps.kept.append(make_add(steps, constraint))
        steps.validated.append(constraint.conname)


def _make_check() -> Any:
    from postgast.pg_query_pb2 import Constraint

    tree = Constraint(skip_validation=True, is_enforced=True)
    set_enum(tree, "contype", "CONSTR_CHECK")
    return tree
