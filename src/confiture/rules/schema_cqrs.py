"""Rules about schemas with a write side and a read side (CQRS)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from confiture.rules import schema_examples
from confiture.rules.rule import Hit, Rule
from confiture.sql.quote import quote_ident

if TYPE_CHECKING:
    from confiture.schema.judged_schema import JudgedSchema
    from confiture.schema.schema_catalog import CatalogRelation

_SIDES = ("cqrs.write", "cqrs.read")


def check_table_name(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tables whose name puts them on no side."""
    sides = schema.sides
    for table in schema.tables:
        if not (sides.is_write(table) or sides.is_read(table) or sides.is_neutral(table)):
            yield Hit(
                f"the name of {table.rel} puts it neither on the write side nor on the read side", table.rel
            )


def check_view_name(schema: JudgedSchema) -> Iterator[Hit]:
    """Report views whose name is not that of a read model."""
    sides = schema.sides
    for view in schema.views:
        if not (sides.is_read(view) or sides.is_neutral(view)):
            yield Hit(f"the view {view.rel} does not have the name of a read model", view.rel)


def check_function_name(schema: JudgedSchema) -> Iterator[Hit]:
    """Report functions whose name matches no pattern."""
    for function in schema.functions:
        if not schema.sides.is_function_named(function):
            yield Hit(f"the name of {function.rel} matches no pattern of functions", function.rel)


def _list_read_models(schema: JudgedSchema) -> Iterator[CatalogRelation]:
    return (relation for relation in schema.relations if schema.sides.is_read(relation))


def check_sources_declared(schema: JudgedSchema) -> Iterator[Hit]:
    """Report read tables that do not say what they are derived from."""
    for model in _list_read_models(schema):
        # The definition of a view names its sources.
        if model.is_table and schema.sides.list_declared(model) is None:
            yield Hit(f"the read model {model.rel} declares no sources", model.rel)


def check_sources_exist(schema: JudgedSchema) -> Iterator[Hit]:
    """Report declared sources that do not exist."""
    for model in _list_read_models(schema):
        for written in schema.sides.list_declared(model) or ():
            if schema.catalog.resolve_written(written, model.schema) is None:
                yield Hit(
                    f"the source {written} of the read model {model.rel} does not exist",
                    model.rel,
                    part=written,
                )


def check_sources_side(schema: JudgedSchema) -> Iterator[Hit]:
    """Report declared sources that are not on the write side."""
    for model in _list_read_models(schema):
        for written in schema.sides.list_declared(model) or ():
            source = schema.catalog.resolve_written(written, model.schema)
            if source and not schema.sides.is_write(source):
                yield Hit(
                    f"the source {written} of the read model {model.rel} is not on the write side",
                    model.rel,
                    part=written,
                )


def check_direction(schema: JudgedSchema) -> Iterator[Hit]:
    """Report what makes the write side depend on the read side."""
    yield from _check_relations(schema)
    yield from _check_functions(schema)


def _check_relations(schema: JudgedSchema) -> Iterator[Hit]:
    sides = schema.sides
    for relation in schema.relations:
        if not sides.is_write(relation):
            continue
        for model in filter(sides.is_read, schema.catalog.select(relation.depends_on)):
            yield Hit(
                f"{relation.rel} is on the write side and reads {model.rel}", relation.rel, part=model.rel
            )
        for key in relation.constraints:
            target = schema.catalog.by_rel.get(key.target or "")
            if target and sides.is_read(target):
                what = f"the foreign key {quote_ident(key.name)} of {relation.rel} refers to {target.rel}"
                yield Hit(f"{what}, a read model", relation.rel, part=key.name)
        for policy in relation.policies:
            for model in filter(sides.is_read, schema.catalog.select(policy.relations)):
                what = f"the policy {quote_ident(policy.name)} of {relation.rel} reads {model.rel}"
                yield Hit(f"{what}, a read model", relation.rel, part=policy.name)


def _check_functions(schema: JudgedSchema) -> Iterator[Hit]:
    """Report functions that write the write side, or decide about its rows, and read the read side."""
    sides = schema.sides
    judged = {function.rel for function in schema.functions}
    for function in sides.writers:
        if function.rel not in judged:
            continue
        decides = function.rel in sides.before_functions
        written = next(filter(sides.is_write, sides.list_written(function)), None)
        if not (decides or written):
            continue
        does = f"writes {written.rel}" if written else "decides what is written"
        for model in {relation.rel: relation for relation in sides.list_read(function)}.values():
            if sides.is_read(model):
                yield Hit(f"{function.rel} {does} and reads {model.rel}", function.rel, part=model.rel)


def check_filled(schema: JudgedSchema) -> Iterator[Hit]:
    """Report read models that nothing fills."""
    for model in _list_read_models(schema):
        if model.sort != "view" and model.rel not in schema.sides.filled:
            how = "refreshes" if model.sort == "matview" else "fills"
            yield Hit(f"nothing {how} the read model {model.rel}", model.rel)


RULES = (
    Rule(
        id="cqrs-table-name",
        severity="warning",
        basis="static",
        summary="a table whose name matches none of cqrs.write, cqrs.read and cqrs.neutral",
        effect="lets everybody write to it and read from it",
        risk="nobody knows whether it may be rebuilt or must be kept",
        check_schema=check_table_name,
        needs=_SIDES,
        example=schema_examples.TABLE_NAME,
        remedy="rename it, or add a pattern to cqrs.neutral",
    ),
    Rule(
        id="cqrs-view-name",
        severity="warning",
        basis="static",
        summary="a view or materialized view whose name matches neither cqrs.read nor cqrs.neutral",
        effect="cannot tell it from a table of the write side by its name",
        risk="code writes to it, or relies on it where it decides",
        check_schema=check_view_name,
        needs=("cqrs.read",),
        example=schema_examples.VIEW_NAME,
        remedy="rename it, or add a pattern to cqrs.neutral",
    ),
    Rule(
        id="cqrs-function-name",
        severity="warning",
        basis="static",
        summary="a function or procedure whose name matches neither cqrs.functions nor cqrs.neutral",
        effect="looks like any other function in a query",
        risk="readers take it for PostgreSQL's own, or an extension's",
        check_schema=check_function_name,
        needs=("cqrs.functions",),
        example=schema_examples.FUNCTION_NAME,
        remedy="rename it, or add a pattern to cqrs.neutral",
    ),
    Rule(
        id="cqrs-sources",
        severity="warning",
        basis="static",
        summary="a read table that declares no sources",
        effect="stores no trace of where the rows of a table came from",
        risk="nobody can rebuild it, or knows that a change of its source concerns it",
        check_schema=check_sources_declared,
        needs=_SIDES,
        example=schema_examples.SOURCES,
        remedy="COMMENT ON TABLE r_orders IS 'confiture: sources w_orders, w_customers', or cqrs.sources",
    ),
    Rule(
        id="cqrs-source-unknown",
        severity="error",
        basis="static",
        summary="a declared source that does not exist",
        effect="does not check what a comment says",
        risk="the read model is derived from something that was renamed or dropped",
        check_schema=check_sources_exist,
        needs=_SIDES,
        example=schema_examples.SOURCE_UNKNOWN,
        remedy="correct the comment, or cqrs.sources",
    ),
    Rule(
        id="cqrs-source-side",
        severity="error",
        basis="static",
        summary="a declared source that is not on the write side",
        effect="does not check what a comment says",
        risk="an error in one read model spreads to the next, and the order of rebuilding matters",
        check_schema=check_sources_side,
        needs=_SIDES,
        example=schema_examples.SOURCE_SIDE,
        remedy="derive it from tables of the write side",
    ),
    Rule(
        id="cqrs-direction",
        severity="error",
        basis="static",
        summary="a table, view, policy or function of the write side that depends on a read model",
        effect="decides by rows that may be older than those it writes",
        risk="the read model can no longer be dropped and rebuilt, and writes follow stale data",
        check_schema=check_direction,
        needs=_SIDES,
        example=schema_examples.DIRECTION,
        remedy="read the tables that the read model is derived from",
    ),
    Rule(
        id="cqrs-not-filled",
        severity="error",
        basis="static",
        summary="a read table or materialized view that no function, trigger, refresh or backfill fills",
        effect="changes its rows only if a statement does",
        risk="it is empty, or shows what was true on the day of its creation",
        check_schema=check_filled,
        needs=_SIDES,
        example=schema_examples.NOT_FILLED,
        remedy="write a trigger, a function or a .backfill.sql; or name what fills it in cqrs.filled",
    ),
)
