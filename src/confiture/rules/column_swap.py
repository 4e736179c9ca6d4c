"""Write a change of type as a swap: a new column is filled, and takes the place of the old one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from confiture.rules.parse_tree import AlterCommand, QualifiedName, derive_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import (
    RecipePart,
    render_concurrently,
    write_backfill,
    write_non_transactional,
    write_part,
)
from confiture.rules.schema_model import ColumnFacts
from confiture.sql.parser import deparse_expression, deparse_type, find_nodes, parse
from confiture.sql.quote import quote_ident


@frozen
class _Swap:
    """A column and the one that takes its place.

    Attributes:
        column: The old column's name.
        added: The new column's name.
        type_name: The new type, with its collation.
        value: The new value as SQL; a name of a column if the text says nothing else.
        facts: What the catalog says about the old column; ``None`` if it was not read.
    """

    table: QualifiedName
    column: str
    added: str
    type_name: str
    value: str
    facts: ColumnFacts | None

    @property
    def old(self) -> str:
        return quote_ident(self.column)

    @property
    def new(self) -> str:
        return quote_ident(self.added)


def find_obstacle(statement: ParsedStatement, table: QualifiedName, column: str) -> str | None:
    """Return what depends on a column and would not survive a swap; ``None`` if nothing does."""
    facts = statement.migration.schema.find_column(table, column)
    return ", ".join(facts.obstacles) if facts and facts.obstacles else None


def write_swap(
    statement: ParsedStatement, table: QualifiedName, command: AlterCommand
) -> tuple[RecipePart, ...]:
    """Return migrations that add a column of the new type, fill it, and swap it for the old column.

    The trigger comes before the backfill, so that rows written during the backfill are converted too. The
    swap only drops and renames columns, which takes an AccessExclusive lock but only briefly.
    """
    swap = _read_swap(statement, table, command)
    function = table.name_sibling(derive_name(table.name, swap.column, "sync"))
    # PostgreSQL runs triggers by name: this one must see what the others have made of the row.
    trigger = quote_ident(derive_name(f"zz_{table.name}", swap.column, "sync"))
    required = swap.facts.not_null if swap.facts else False
    filled = quote_ident(derive_name(table.name, swap.column, "filled"))
    value = swap.value if swap.value == swap.old else f"({swap.value})"
    fill = write_backfill(table, swap.added, swap.value, f"{swap.new} IS NULL AND {value} IS NOT NULL")
    checks = [f"ADD CONSTRAINT {filled} CHECK ({swap.new} IS NOT NULL) NOT VALID"] if required else []
    checks += [f"ADD CONSTRAINT {name} CHECK ({text}) NOT VALID" for name, text in _list_checks(swap)]
    names = [filled] * required + [name for name, _ in _list_checks(swap)]
    row = f"(SELECT {swap.value} FROM (SELECT NEW.*) AS {quote_ident(table.name)})"
    return (
        write_part(
            f"-- differs: {swap.old} is the last column afterwards",
            *(
                (f"-- differs: the UPDATE triggers of {table} run for every row that is filled",)
                if table in statement.migration.schema.update_triggers
                else ()
            ),
            f"ALTER TABLE {table} ADD COLUMN {swap.new} {swap.type_name};",
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $sync$",
            "BEGIN",
            f"  NEW.{swap.new} := {f'NEW.{swap.old}' if swap.value == swap.old else row};",
            "  RETURN NEW;",
            "END $sync$;",
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
            f"  EXECUTE FUNCTION {function}();",
        ),
        write_non_transactional(*fill.lines, *(build for _, build, _ in _list_indexes(swap))),
        *((write_part(f"ALTER TABLE {table} {', '.join(checks)};"),) if checks else ()),
        write_part(
            *(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};" for name in names),
            *_list_swapped(swap, trigger, f"{function}()"),
            *((f"ALTER TABLE {table} ALTER COLUMN {swap.old} SET NOT NULL;",) if required else ()),
            *((f"ALTER TABLE {table} DROP CONSTRAINT {filled};",) if required else ()),
            *_list_restored(swap),
        ),
    )


def _read_swap(statement: ParsedStatement, table: QualifiedName, command: AlterCommand) -> _Swap:
    column, definition = command.tree.name, command.definition.column_def
    type_name = deparse_type(definition.type_name)
    if definition.coll_clause.collname:
        names = (quote_ident(item.string.sval) for item in definition.coll_clause.collname)
        type_name += f" COLLATE {'.'.join(names)}"
    # Without USING PostgreSQL casts as in an assignment, which refuses what is too long.
    using = definition.raw_default if definition.HasField("raw_default") else None
    return _Swap(
        table,
        column,
        derive_name(column, "", "new"),
        type_name,
        quote_ident(column) if using is None else deparse_expression(using),
        statement.migration.schema.find_column(table, column),
    )


def _list_swapped(swap: _Swap, trigger: str, function: str) -> Iterator[str]:
    if swap.facts is None:
        yield f"-- first recreate on {swap.new} what depends on {swap.old}: indexes, constraints, a default"
    yield f"DROP TRIGGER {trigger} ON {swap.table};"
    yield f"DROP FUNCTION {function};"
    for sequence in swap.facts.sequences if swap.facts else ():
        yield f"ALTER SEQUENCE {sequence} OWNED BY {swap.table}.{swap.new};"
    yield f"ALTER TABLE {swap.table} DROP COLUMN {swap.old};"
    yield f"ALTER TABLE {swap.table} RENAME COLUMN {swap.new} TO {swap.old};"


def _list_restored(swap: _Swap) -> Iterator[str]:
    """Yield what gives the new column the names and properties of the old one."""
    if swap.facts is None:
        return
    for index, _, constraint in _list_indexes(swap):
        name = quote_ident(index)
        built = quote_ident(_rename(index))
        if constraint:
            yield f"ALTER TABLE {swap.table} ADD CONSTRAINT {name} {constraint.replace('?', built)};"
        else:
            yield f"ALTER INDEX {swap.table.name_sibling(_rename(index))} RENAME TO {name};"
    for name, _ in swap.facts.checks:
        yield (
            f"ALTER TABLE {swap.table} RENAME CONSTRAINT {quote_ident(_rename(name))} TO {quote_ident(name)};"
        )
    if swap.facts.default is not None:
        yield f"ALTER TABLE {swap.table} ALTER COLUMN {swap.old} SET DEFAULT {swap.facts.default};"
    if swap.facts.comment is not None:
        text = swap.facts.comment.replace("'", "''")
        yield f"COMMENT ON COLUMN {swap.table}.{swap.old} IS '{text}';"


def _rename(name: str) -> str:
    return derive_name(name, "", "new")


def _list_checks(swap: _Swap) -> Iterator[tuple[str, str]]:
    for name, check in swap.facts.checks if swap.facts else ():
        (statement,) = parse(f"SELECT {check}")
        _rename_columns(statement.node, swap)
        text = deparse_expression(statement.node.select_stmt.target_list[0].res_target.val)
        yield quote_ident(_rename(name)), text


def _list_indexes(swap: _Swap) -> Iterator[tuple[str, str, str]]:
    """Yield the old name, the CREATE INDEX of the new one, and the constraint that uses it, if any."""
    for name, definition, constraint in swap.facts.indexes if swap.facts else ():
        (statement,) = parse(definition)
        stmt = statement.node.index_stmt
        _rename_columns(statement.node, swap)
        for parameter in (*stmt.index_params, *stmt.index_including_params):
            if parameter.index_elem.name == swap.column:
                parameter.index_elem.name = swap.added
        # As the migration names the table.
        stmt.relation.schemaname = swap.table.written or ""
        yield name, render_concurrently(stmt, _rename(name)), constraint


def _rename_columns(node: Any, swap: _Swap) -> None:
    for reference in find_nodes(node, "ColumnRef"):
        if reference.fields[-1].string.sval == swap.column:
            reference.fields[-1].string.sval = swap.added
