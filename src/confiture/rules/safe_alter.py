"""Write one ALTER TABLE as steps that block nobody for long, with all of its commands.

The steps are at most five migrations: what changes only the catalog; what is committed batch by batch, or
built CONCURRENTLY; the constraints that need those rows; their validation; what uses the new indexes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define, evolve, field

from confiture.postgres.session import quote_literal
from confiture.rules.column_values import SERIALS, VOLATILE, is_volatile, list_called
from confiture.rules.domains import find_domain, render_check
from confiture.rules.parse_tree import (
    AlterCommand,
    ParsedConstraint,
    QualifiedName,
    derive_name,
    list_commands,
    list_constraints,
    list_keys,
    name_constraint,
    read_name,
    render_type,
)
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import (
    NO_TRANSACTION,
    NOTHING_TO_UNDO,
    Recipe,
    RecipePart,
    copy_tree,
    render_alter,
    render_concurrently,
    set_enum,
    write_backfill,
)
from confiture.rules.undo_alter import drop_constraints, undo_commands
from confiture.sql.parser import deparse_expression, read_enum_name
from confiture.sql.quote import quote_ident

_MODIFIERS = {
    "CONSTR_ATTR_DEFERRABLE": ("deferrable", True),
    "CONSTR_ATTR_NOT_DEFERRABLE": ("deferrable", False),
    "CONSTR_ATTR_DEFERRED": ("initdeferred", True),
    "CONSTR_ATTR_IMMEDIATE": ("initdeferred", False),
}
# These are checked or built for every row; the others change only the catalog.
_SEPARATE = ("CONSTR_CHECK", "CONSTR_FOREIGN", "CONSTR_UNIQUE", "CONSTR_PRIMARY")


@define
class _Steps:
    """The steps of one ALTER TABLE while they are collected.

    Attributes:
        statement: The ALTER TABLE.
        kept: Its commands that change only the catalog, changed so that none does more.
        brief: Statements that follow them in the same migration.
        brief_undo: What undoes those statements, while the new columns are there.
        outside: Backfills and index builds.
        outside_undo: What undoes the index builds.
        required: Columns to make NOT NULL.
        nullable: Those of them that surely are not NOT NULL before.
        late: Foreign keys that need the new indexes, to add NOT VALID at the end and validate after it.
        validated: Constraints to validate.
        last: Commands that use the new indexes.
        last_undo: What undoes them, and leaves the indexes; ``None`` for a command if that is not known.
        ends: Statements for the end.
        filled: True if rows are filled, so that NOT NULL must wait for that.
        differs: In what the result differs.
        named: The names that were chosen.
        chosen: How many names of each kind were chosen.
        wanted: How many will be chosen in all.
    """

    statement: ParsedStatement
    kept: list[AlterCommand] = field(factory=list)
    brief: list[str] = field(factory=list)
    brief_undo: list[str] = field(factory=list)
    outside: list[str] = field(factory=list)
    outside_undo: list[str] = field(factory=list)
    required: list[str] = field(factory=list)
    nullable: set[str] = field(factory=set)
    late: list[AlterCommand] = field(factory=list)
    validated: list[str] = field(factory=list)
    last: list[str] = field(factory=list)
    last_undo: list[tuple[str, ...] | None] = field(factory=list)
    ends: list[str] = field(factory=list)
    filled: bool = False
    differs: list[str] = field(factory=list)
    named: list[str] = field(factory=list)
    chosen: Counter[tuple[str, str]] = field(factory=Counter)
    wanted: Counter[tuple[str, str]] = field(factory=Counter)

    @property
    def table(self) -> QualifiedName:
        return read_name(self.statement.stmt.relation)

    @property
    def head(self) -> str:
        stmt = self.statement.stmt
        return (
            f"ALTER TABLE {'IF EXISTS ' if stmt.missing_ok else ''}"
            f"{'' if stmt.relation.inh else 'ONLY '}{self.table}"
        )


def write_alter(statement: ParsedStatement) -> Recipe | None:
    """Return an ALTER TABLE as a recipe with all of its commands; ``None`` if there is no safe form."""
    return write_commands(statement, list(list_commands(statement.stmt)))


def write_commands(statement: ParsedStatement, commands: Sequence[AlterCommand]) -> Recipe | None:
    """Return these commands of an ALTER TABLE as a recipe; ``None`` if there is no safe form."""
    first = _Steps(statement)
    if first.table in statement.migration.schema.partition_keys and _needs_index(statement.stmt):
        # PostgreSQL refuses USING INDEX for the constraint of a partitioned table.
        return None
    # Twice, because a name may depend on how many of its kind follow.
    steps = _Steps(statement, wanted=first.chosen)
    for collected in (first, steps):
        for command in commands:
            if not _add_command(collected, command):
                return None
    return Recipe(tuple(_assemble(steps)))


def explain_lack(statement: ParsedStatement) -> str:
    """Return why an ALTER TABLE has no recipe, as the end of a message; empty if that is not known."""
    table = read_name(statement.stmt.relation)
    if table in statement.migration.schema.partition_keys:
        return f"; no recipe, because {table} is partitioned: do it partition by partition"
    return ""


def _needs_index(stmt: Any) -> bool:
    return any(
        constraint.sort in ("CONSTR_UNIQUE", "CONSTR_PRIMARY") and not constraint.tree.indexname
        for command in list_commands(stmt)
        for constraint in _list_of_command(command)
    )


def _list_of_command(command: AlterCommand) -> list[ParsedConstraint]:
    if command.sort == "AT_AddColumn":
        return list(list_constraints(command.definition.column_def))
    if command.sort == "AT_AddConstraint":
        tree = command.definition.constraint
        return [ParsedConstraint(read_enum_name(tree, "contype"), tree)]
    return []


def _add_command(steps: _Steps, command: AlterCommand) -> bool:
    """Add the steps of one command, and return False if it has no safe form."""
    if command.sort == "AT_AddColumn":
        return _add_column(steps, command)
    if command.sort == "AT_SetNotNull":
        steps.required.append(command.tree.name)
        steps.nullable.add(command.tree.name)
    elif command.sort == "AT_AddConstraint":
        (constraint,) = _list_of_command(command)
        return _add_constraint(steps, command, constraint)
    elif command.sort == "AT_ValidateConstraint":
        steps.validated.append(command.tree.name)
    else:
        steps.kept.append(command)
    return True


def _add_constraint(steps: _Steps, command: AlterCommand, constraint: ParsedConstraint) -> bool:
    """Add a table constraint."""
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
    elif constraint.sort not in _SEPARATE or tree.skip_validation or tree.indexname:
        steps.kept.append(command)
    elif constraint.sort in ("CONSTR_CHECK", "CONSTR_FOREIGN"):
        return _add_checked(steps, constraint)
    else:
        _add_indexed(steps, constraint)
    return True


def _add_checked(steps: _Steps, constraint: ParsedConstraint) -> bool:
    """Add a CHECK or a FOREIGN KEY: NOT VALID first, so that it is brief, and validated without blocking.

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
    tree.conname = tree.conname or _choose_name(steps, *name_constraint(constraint))
    tree.skip_validation, tree.initially_valid = True, False
    command = _make_add(steps, tree)
    own = constraint.sort == "CONSTR_FOREIGN" and read_name(tree.pktable) == steps.table
    if own and _needs_index(steps.statement.stmt):
        steps.late.append(command)
    else:
        steps.kept.append(command)
        steps.validated.append(tree.conname)
    return True


def _make_add(steps: _Steps, tree: Any) -> AlterCommand:
    command = copy_tree(steps.statement.stmt.cmds[0].alter_table_cmd)
    command.Clear()
    set_enum(command, "subtype", "AT_AddConstraint")
    getattr(command, "def").constraint.CopyFrom(tree)
    return AlterCommand("AT_AddConstraint", command)


def _add_indexed(steps: _Steps, constraint: ParsedConstraint) -> None:
    """Add a UNIQUE or PRIMARY KEY: the index is built CONCURRENTLY, and the constraint uses it."""
    tree, keys = constraint.tree, list_keys(constraint)
    primary = constraint.sort == "CONSTR_PRIMARY"
    name = tree.conname or _choose_name(steps, *name_constraint(constraint))
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


def _render_index(steps: _Steps, constraint: ParsedConstraint, name: str, keys: Sequence[str]) -> str:
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


def _choose_name(steps: _Steps, words: str, label: str) -> str:
    taken = steps.statement.migration.schema.find_taken_names(steps.table)
    left = steps.wanted[words, label] - steps.chosen[words, label]
    name = taken.choose(steps.table.name, words, label, steps.named, max(left, 1))
    steps.named.append(name)
    steps.chosen[words, label] += 1
    return name


def _add_column(steps: _Steps, command: AlterCommand) -> bool:
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
    dropped = [sort for sort in _SEPARATE if sort in sorts]
    if filled:
        dropped += ["CONSTR_NOTNULL", "CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"]
    required = "CONSTR_NOTNULL" in sorts or serial is not None or "CONSTR_IDENTITY" in sorts
    if domain is not None and (
        filled or required or default is not None or domain.default or domain.not_null
    ):
        return False
    stripped = strip_column(command, dropped, serial or (domain.type_name if domain else None))
    steps.kept.append(stripped)
    if command.tree.missing_ok and (filled or len(dropped) > 0):
        steps.differs.append(f"if {quote_ident(column.colname)} exists already, leave out what is done to it")
    if filled:
        steps.filled = True
        steps.nullable.add(column.colname)
        steps.required += [column.colname] if required or "CONSTR_PRIMARY" in sorts else []
        _fill_column(steps, column, sorts, serial, stored)
    elif "CONSTR_PRIMARY" in sorts and default is None:
        return False
    if domain is not None:
        _check_domain(steps, column, domain)
    for constraint in constraints:
        if constraint.sort in ("CONSTR_CHECK", "CONSTR_FOREIGN"):
            if not _add_checked(steps, constraint):
                return False
        elif constraint.sort in ("CONSTR_UNIQUE", "CONSTR_PRIMARY"):
            _add_indexed(steps, constraint)
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


def strip_column(command: AlterCommand, dropped: Sequence[str], type_name: str | None = None) -> AlterCommand:
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
    steps: _Steps, column: Any, sorts: dict[str, Any], serial: str | None, stored: Any | None
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
        # What an unknown function returns is not known either.
        may_be_null = not VOLATILE.issuperset(list_called(sorts["CONSTR_DEFAULT"].raw_expr))
        # NULLIF and CASE can be NULL, whatever their functions return.
        may_be_null = may_be_null or any(word in text.upper() for word in ("NULL", "CASE"))
    known = steps.statement.migration.schema
    # A ctid is unique in one partition only.
    for leaf in known.list_leaves(table) if table in known.partition_keys else (table,):
        steps.outside += write_backfill(leaf, column.colname, value, condition, may_be_null=may_be_null).lines
    if table in known.update_triggers:
        steps.differs.append(f"the UPDATE triggers of {table} run for every row that is filled")


def _number_column(steps: _Steps, column: Any, identity: Any) -> None:
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
    kind += f" AS IDENTITY ({options})" if options else " AS IDENTITY"
    steps.ends += [
        f"{steps.head} ALTER COLUMN {name} DROP DEFAULT;",
        f"{steps.head} ALTER COLUMN {name} ADD GENERATED {kind};",
        f"SELECT setval({own}, nextval({quote_literal(str(filling))}), false);",
        f"DROP SEQUENCE {filling};",
    ]


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


def _keep_by_trigger(steps: _Steps, column: Any, generated: Any) -> str:
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


def _check_domain(steps: _Steps, column: Any, domain: Any) -> None:
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
        constraint.conname = _choose_name(steps, column.colname, "check")
        steps.kept.append(_make_add(steps, constraint))
        steps.validated.append(constraint.conname)


def _make_check() -> Any:
    from postgast.pg_query_pb2 import Constraint

    tree = Constraint(skip_validation=True, is_enforced=True)
    set_enum(tree, "contype", "CONSTR_CHECK")
    return tree


def _assemble(steps: _Steps) -> Iterator[RecipePart]:
    """Yield the migrations."""
    stmt, required = steps.statement.stmt, tuple(dict.fromkeys(steps.required))
    notes = [f"-- differs: {text}" for text in steps.differs]
    brief = [render_alter(stmt, steps.kept)] if steps.kept else []
    brief += steps.brief
    names = [quote_ident(derive_name(steps.table.name, column, "filled")) for column in required]
    checks = ", ".join(
        f"ADD CONSTRAINT {name} CHECK ({quote_ident(column)} IS NOT NULL) NOT VALID"
        for name, column in zip(names, required, strict=True)
    )
    if checks and not steps.filled:
        brief.append(f"{steps.head} {checks};")
    drops = (drop_constraints(steps.head, names),) if checks else ()
    if notes or brief:
        yield RecipePart((*notes, *brief), down=_undo_brief(steps, () if steps.filled else drops))
    if steps.outside:
        nothing = (f"{NOTHING_TO_UNDO}the values go with the new column",)
        yield RecipePart(
            tuple(steps.outside), outside=True, down=tuple(reversed(steps.outside_undo)) or nothing
        )
    if checks and steps.filled:
        yield RecipePart((f"{steps.head} {checks};",), down=drops)
    yield from _assemble_end(steps, names, required, checks)


def _undo_brief(steps: _Steps, drops: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what undoes the first migration; ``None`` if the state before is not known."""
    undone = undo_commands(steps.head, steps.kept)
    return None if undone is None else (*drops, *steps.brief_undo, *undone)


def _assemble_end(
    steps: _Steps, names: Sequence[str], required: Sequence[str], checks: str
) -> Iterator[RecipePart]:
    end: list[str] = []
    validated = [*map(quote_ident, steps.validated), *names]
    if validated:
        end.append(f"{steps.head} {_render_validations(validated)};")
    if required:
        # Since version 12 PostgreSQL skips the scan of SET NOT NULL if a valid CHECK proves it. In one
        # transaction, because VALIDATE scans before SET NOT NULL takes its strong lock.
        settings = ", ".join(f"ALTER COLUMN {quote_ident(column)} SET NOT NULL" for column in required)
        end += [
            f"{steps.head} {settings};",
            f"{steps.head} {', '.join(f'DROP CONSTRAINT {name}' for name in names)};",
        ]
    end += [*steps.last, *steps.ends]
    if steps.late:
        end.append(render_alter(steps.statement.stmt, steps.late))
    if end:
        yield RecipePart(tuple(end), down=_undo_end(steps, required, checks))
    names = [quote_ident(command.definition.constraint.conname) for command in steps.late]
    if names:
        yield RecipePart((f"{steps.head} {_render_validations(names)};",), down=(_STAYS_VALID,))


_STAYS_VALID = f"{NOTHING_TO_UNDO}a constraint that holds for all rows stays valid"


def _undo_end(steps: _Steps, required: Sequence[str], checks: str) -> tuple[str, ...] | None:
    """Return what undoes the last migration, and leaves what those before it have made."""
    # A column of a primary key may have been NOT NULL before.
    if steps.ends or None in steps.last_undo or not steps.nullable.issuperset(required):
        return None
    late = [quote_ident(command.definition.constraint.conname) for command in steps.late]
    lines = [drop_constraints(steps.head, late)] if late else []
    lines += [line for undone in reversed(steps.last_undo) for line in undone or ()]
    if required:
        allows = ", ".join(f"ALTER COLUMN {quote_ident(column)} DROP NOT NULL" for column in required)
        lines += [f"{steps.head} {checks};", f"{steps.head} {allows};"]
    # DROP CONSTRAINT drops its index too, which is built again as it was.
    header = (NO_TRANSACTION,) if steps.last_undo else ()
    return (*header, *lines) if lines else (_STAYS_VALID,)


def _render_validations(names: Iterable[str]) -> str:
    return ", ".join(f"VALIDATE CONSTRAINT {name}" for name in names)
