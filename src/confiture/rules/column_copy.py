"""Write migrations that copy a column into a new one, which takes its place in the last of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from confiture.postgres.session import quote_literal
from confiture.rules.parse_tree import QualifiedName, derive_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import (
    NOTHING_TO_UNDO,
    RecipePart,
    render_concurrently,
    write_backfill,
    write_non_transactional,
    write_part,
)
from confiture.rules.schema_model import ColumnFacts
from confiture.sql.parser import deparse_expression, find_nodes, parse
from confiture.sql.quote import quote_ident


@frozen
class ColumnCopy:
    """A column and the one that takes its place.

    Attributes:
        column: The old column's name.
        added: The new column's name while both are there.
        final: The new column's name once it is alone.
        type_name: The new column's type, with its collation.
        value: The new column's value as SQL; a name of a column if that is all.
        facts: What the catalog says about the old column; ``None`` if it was not read.
    """

    table: QualifiedName
    column: str
    added: str
    final: str
    type_name: str
    value: str
    facts: ColumnFacts | None

    @property
    def old(self) -> str:
        """The old column as SQL."""
        return quote_ident(self.column)

    @property
    def new(self) -> str:
        """The new column as SQL."""
        return quote_ident(self.added)

    @property
    def kept(self) -> str:
        """The column that is left, as SQL."""
        return quote_ident(self.final)

    @property
    def function(self) -> QualifiedName:
        """The function that keeps both columns in step."""
        return self.table.name_sibling(derive_name(self.table.name, self.column, "sync"))

    @property
    def trigger(self) -> str:
        """The trigger that calls it: by its name it runs last, and sees what others have made of the row."""
        return quote_ident(derive_name(f"zz_{self.table.name}", self.column, "sync"))

    @property
    def is_required(self) -> bool:
        """True if the column refuses NULL."""
        return self.facts is not None and self.facts.not_null

    @property
    def filled(self) -> str:
        """The CHECK that spares SET NOT NULL its scan."""
        return quote_ident(derive_name(self.table.name, self.column, "filled"))


def explain_obstacles(facts: ColumnFacts | None) -> str | None:
    """Return why a column cannot be copied, as the rest of a sentence; ``None`` if it can."""
    obstacles = ", ".join(facts.obstacles) if facts else ""
    return f"{obstacles} would have to move to a new column" if obstacles else None


def write_copy(
    statement: ParsedStatement, copy: ColumnCopy, assignments: Sequence[str], advice: Sequence[str] = ()
) -> tuple[RecipePart, ...]:
    """Return migrations that add the new column, fill it, and drop the old one.

    The trigger comes before the backfill, so that rows written during the backfill are copied too. The
    last migration only drops and renames columns, which takes an AccessExclusive lock but only briefly.

    Args:
        statement: The statement that they replace.
        copy: Both columns.
        assignments: The body of the trigger's function, which keeps them in step.
        advice: Comments above the statements of the last migration.
    """
    table = copy.table
    value = copy.value if copy.value == copy.old else f"({copy.value})"
    fill = write_backfill(table, copy.added, copy.value, f"{copy.new} IS NULL AND {value} IS NOT NULL")
    copied = list(_list_checks(copy))
    checks = [f"ADD CONSTRAINT {copy.filled} CHECK ({copy.new} IS NOT NULL) NOT VALID"] * copy.is_required
    checks += [f"ADD CONSTRAINT {name} CHECK ({text}) NOT VALID" for name, text in copied]
    names = [copy.filled] * copy.is_required + [name for name, _ in copied]
    return (
        _write_expand(statement, copy, assignments),
        write_non_transactional(
            *fill.lines,
            *(build for _, build, _ in _list_indexes(copy)),
            down=tuple(_list_dropped_indexes(copy)) or (f"{NOTHING_TO_UNDO}the rows go with the new column",),
        ),
        *((_write_checks(table, checks, names),) if checks else ()),
        write_part(
            *advice,
            f"-- it has no down part: {copy.old} is gone, and what was written since is in {copy.kept} only",
            *(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};" for name in names),
            *_list_contraction(copy),
            *_list_requirement(copy),
            *_list_restored(copy),
        ),
    )


def _write_checks(table: QualifiedName, checks: Sequence[str], names: Sequence[str]) -> RecipePart:
    drops = ", ".join(f"DROP CONSTRAINT {name}" for name in names)
    return write_part(f"ALTER TABLE {table} {', '.join(checks)};", down=(f"ALTER TABLE {table} {drops};",))


def _list_dropped_indexes(copy: ColumnCopy) -> Iterator[str]:
    for name, _, _ in _list_indexes(copy):
        yield f"DROP INDEX CONCURRENTLY {copy.table.name_sibling(_rename(name))};"


def _write_expand(statement: ParsedStatement, copy: ColumnCopy, assignments: Sequence[str]) -> RecipePart:
    table = copy.table
    fires = table in statement.migration.schema.update_triggers
    return write_part(
        f"-- differs: {copy.kept} is the last column afterwards",
        *((f"-- differs: the UPDATE triggers of {table} run for every row that is filled",) if fires else ()),
        f"ALTER TABLE {table} ADD COLUMN {copy.new} {copy.type_name};",
        f"CREATE FUNCTION {copy.function}() RETURNS trigger LANGUAGE plpgsql AS $sync$",
        "BEGIN",
        *(f"  {line}" for line in assignments),
        "  RETURN NEW;",
        "END $sync$;",
        f"CREATE TRIGGER {copy.trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
        f"  EXECUTE FUNCTION {copy.function}();",
        down=(
            f"DROP TRIGGER {copy.trigger} ON {table};",
            f"DROP FUNCTION {copy.function}();",
            f"ALTER TABLE {table} DROP COLUMN {copy.new};",
        ),
    )


def _list_contraction(copy: ColumnCopy) -> Iterator[str]:
    if copy.facts is None:
        yield f"-- first recreate on {copy.new} what depends on {copy.old}: indexes, constraints, a default"
    yield f"DROP TRIGGER {copy.trigger} ON {copy.table};"
    yield f"DROP FUNCTION {copy.function}();"
    for sequence in copy.facts.sequences if copy.facts else ():
        yield f"ALTER SEQUENCE {sequence} OWNED BY {copy.table}.{copy.new};"
    yield f"ALTER TABLE {copy.table} DROP COLUMN {copy.old};"
    if copy.kept != copy.new:
        yield f"ALTER TABLE {copy.table} RENAME COLUMN {copy.new} TO {copy.kept};"


def _list_requirement(copy: ColumnCopy) -> Iterator[str]:
    if not copy.is_required:
        return
    yield f"ALTER TABLE {copy.table} ALTER COLUMN {copy.kept} SET NOT NULL;"
    yield f"ALTER TABLE {copy.table} DROP CONSTRAINT {copy.filled};"
    # Since version 18 NOT NULL is a constraint with a name, which a RENAME of the column leaves as it is.
    chosen = derive_name(copy.table.name, copy.final, "not_null")
    if copy.facts and copy.facts.not_null_name not in (None, chosen):
        yield _render_renaming(copy, chosen, str(copy.facts.not_null_name))


def _list_restored(copy: ColumnCopy) -> Iterator[str]:
    """Yield what gives the new column the names and properties of the old one."""
    if copy.facts is None:
        return
    for index, _, constraint in _list_indexes(copy):
        name = quote_ident(index)
        built = quote_ident(_rename(index))
        if constraint:
            yield f"ALTER TABLE {copy.table} ADD CONSTRAINT {name} {constraint.replace('?', built)};"
        else:
            yield f"ALTER INDEX {copy.table.name_sibling(_rename(index))} RENAME TO {name};"
    for name, _ in copy.facts.checks:
        yield _render_renaming(copy, _rename(name), name)
    if copy.facts.default is not None:
        yield f"ALTER TABLE {copy.table} ALTER COLUMN {copy.kept} SET DEFAULT {copy.facts.default};"
    if copy.facts.comment is not None:
        yield f"COMMENT ON COLUMN {copy.table}.{copy.kept} IS {quote_literal(copy.facts.comment)};"


def _render_renaming(copy: ColumnCopy, name: str, final: str) -> str:
    return f"ALTER TABLE {copy.table} RENAME CONSTRAINT {quote_ident(name)} TO {quote_ident(final)};"


def _rename(name: str) -> str:
    return derive_name(name, "", "new")


def _list_checks(copy: ColumnCopy) -> Iterator[tuple[str, str]]:
    for name, check in copy.facts.checks if copy.facts else ():
        (statement,) = parse(f"SELECT {check}")
        _rename_columns(statement.node, copy)
        text = deparse_expression(statement.node.select_stmt.target_list[0].res_target.val)
        yield quote_ident(_rename(name)), text


def _list_indexes(copy: ColumnCopy) -> Iterator[tuple[str, str, str]]:
    """Yield the old name, the CREATE INDEX of the new one, and the constraint that uses it, if any."""
    for name, definition, constraint in copy.facts.indexes if copy.facts else ():
        (statement,) = parse(definition)
        stmt = statement.node.index_stmt
        _rename_columns(statement.node, copy)
        for parameter in (*stmt.index_params, *stmt.index_including_params):
            if parameter.index_elem.name == copy.column:
                parameter.index_elem.name = copy.added
        # As the migration names the table.
        stmt.relation.schemaname = copy.table.written or ""
        yield name, render_concurrently(stmt, _rename(name)), constraint


def _rename_columns(node: Any, copy: ColumnCopy) -> None:
    for reference in find_nodes(node, "ColumnRef"):
        if reference.fields[-1].string.sval == copy.column:
            reference.fields[-1].string.sval = copy.added
