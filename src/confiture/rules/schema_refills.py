"""The rule about migrations that change the source of a read model without filling it again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from confiture.rules import schema_examples
from confiture.rules.parse_tree import QualifiedName, list_commands, read_name
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.rule import Hit, Rule
from confiture.sql.outward import find_written_tables
from confiture.sql.parser import read_enum_name

if TYPE_CHECKING:
    from confiture.schema.judged_schema import JudgedSchema
    from confiture.schema.schema_catalog import CatalogRelation

_COLUMN_CHANGES = ("AT_AddColumn", "AT_DropColumn", "AT_AlterColumnType")


def check_refill(migration: ParsedMigration) -> Iterator[Hit]:
    """Report statements that change a source after which nothing fills its read models again."""
    schema = migration.judged_schema
    if schema is None:
        return
    filled = _list_filled(migration, schema)
    reported: set[str] = set()
    for statement in migration.statements:
        for source, by_row in _list_changed(statement, schema):
            for model in schema.sides.list_models(source):
                late = model.rel in filled or model.rel in reported or not _is_older(migration, model)
                if late or (by_row and _follows(schema, source, model)) or _is_new(statement, source):
                    continue
                reported.add(model.rel)
                yield Hit(
                    f"changes {source.rel}, a source of {model.rel}, and does not fill that again",
                    model.rel,
                    line=statement.line,
                )


def _list_changed(statement: ParsedStatement, schema: JudgedSchema) -> Iterator[tuple[CatalogRelation, bool]]:
    """Yield the relations that a statement changes, and True for those whose rows it changes."""
    for inner in (statement, *statement.inner_statements):
        columns = _changes_columns(inner)
        names = [read_name(inner.stmt.relation)] if columns else []
        names += [read_name(relation) for relation in find_written_tables(inner.node)]
        for name in names:
            if relation := schema.catalog.resolve(name.schema, name.name):
                yield relation, not columns


def _changes_columns(statement: ParsedStatement) -> bool:
    if statement.kind == "alter_table_stmt":
        return any(command.sort in _COLUMN_CHANGES for command in list_commands(statement.stmt))
    return (
        statement.kind == "rename_stmt"
        and read_enum_name(statement.stmt, "rename_type") == "OBJECT_COLUMN"
        and statement.stmt.HasField("relation")
    )


def _list_filled(migration: ParsedMigration, schema: JudgedSchema) -> Collection[str]:
    """Return the read models that the migration fills: itself, by a function, or by a backfill."""
    # Imported here: every `lint` loads this module, and only `lint --schema` needs that one.
    from confiture.schema.function_body import read_tree_use

    trees = [
        inner.node
        for statement in migration.statements
        for inner in (statement, *statement.inner_statements)
        if inner.node is not None
    ]
    use = read_tree_use(trees)
    written = [schema.catalog.resolve(*name) for name in use.writes]
    written += schema.sides.list_written_by(use.calls)
    written += [
        schema.catalog.resolve(*backfill.table)
        for backfill in schema.backfills
        if backfill.belongs_to(migration.version, migration.name)
    ]
    return {relation.rel for relation in written if relation is not None}


def _is_older(migration: ParsedMigration, model: CatalogRelation) -> bool:
    """Return True if the read model was there before the migration: a new one is filled after it."""
    if migration.plan is None:
        return True
    created = migration.plan.last_creations.get(QualifiedName(model.schema, model.name), -1)
    return created < migration.plan.positions[migration.file]


def _is_new(statement: ParsedStatement, source: CatalogRelation) -> bool:
    return statement.is_new(QualifiedName(source.schema, source.name))


def _follows(schema: JudgedSchema, source: CatalogRelation, model: CatalogRelation) -> bool:
    """Return True if a trigger of the source writes the read model."""
    functions = {trigger.function for trigger in source.triggers}
    return any(
        model in schema.sides.list_written(function)
        for function in schema.sides.writers
        if function.rel in functions
    )


RULES = (
    Rule(
        id="cqrs-refill",
        severity="warning",
        basis="static",
        summary="a migration that changes a source of a read model and does not fill that again",
        effect="changes the source only",
        risk="the read model shows the old rows until somebody rebuilds it",
        check_migration=check_refill,
        needs=("cqrs.write", "cqrs.read"),
        example=schema_examples.REFILL,
        remedy="fill it in the migration or by its .backfill.sql, or say why not: "
        '-- confiture: ignore cqrs-refill reason="…"',
    ),
)
