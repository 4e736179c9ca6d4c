"""Rules about schemas whose tables hold the rows of several tenants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from confiture.rules import schema_examples
from confiture.rules.rule import Hit, Rule
from confiture.sql.quote import quote_ident

if TYPE_CHECKING:
    from confiture.schema.judged_schema import JudgedSchema
    from confiture.schema.schema_catalog import CatalogColumn, CatalogRelation

_NEEDS = ("tenancy.tables",)


def _list_with_column(schema: JudgedSchema) -> Iterator[tuple[CatalogRelation, CatalogColumn]]:
    """Yield the tenant tables that have the column; the others are reported once, for its absence."""
    for table in schema.tenant_tables:
        if column := table.find_column(schema.policy.tenancy.column):
            yield table, column


def check_column(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tenant tables without the tenant's column."""
    name = schema.policy.tenancy.column
    for table in schema.tenant_tables:
        if table.find_column(name) is None:
            yield Hit(f"{table.rel} has no column {quote_ident(name)}", table.rel)


def check_type(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tenant columns of another type than the configured one."""
    wanted = schema.policy.tenancy.type
    for table, column in _list_with_column(schema):
        if wanted and column.type != wanted:
            yield Hit(
                f"{table.rel}.{quote_ident(column.name)} is {column.type}, not {wanted}",
                table.rel,
                part=column.name,
            )


def check_not_null(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tenant columns that may be NULL."""
    for table, column in _list_with_column(schema):
        if not column.not_null:
            yield Hit(f"{table.rel}.{quote_ident(column.name)} may be NULL", table.rel, part=column.name)


def check_leading_index(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tenant tables with no index that begins with the tenant."""
    for table, column in _list_with_column(schema):
        if not any(
            index.valid and index.predicate is None and index.columns[:1] == (column.name,)
            for index in table.indexes
        ):
            name = quote_ident(column.name)
            yield Hit(f"neither the primary key nor an index of {table.rel} begins with {name}", table.rel)


def check_foreign_key(schema: JudgedSchema) -> Iterator[Hit]:
    """Report foreign keys between tenant tables that may refer to another tenant's row."""
    name = schema.policy.tenancy.column
    for table, _ in _list_with_column(schema):
        for key in table.constraints:
            target = schema.catalog.by_rel.get(key.target or "")
            if key.sort != "f" or target is None or not schema.is_tenant_table(target):
                continue
            if target.find_column(name) and (name, name) not in zip(
                key.columns, key.target_columns, strict=True
            ):
                yield Hit(
                    f"the foreign key {quote_ident(key.name)} of {table.rel} to {target.rel} leaves out "
                    f"{quote_ident(name)}: a row may refer to another tenant's",
                    table.rel,
                    part=key.name,
                )


def check_unique(schema: JudgedSchema) -> Iterator[Hit]:
    """Report unique constraints and indexes, but for the primary key, that hold across tenants."""
    for table, column in _list_with_column(schema):
        for index in table.indexes:
            if index.unique and not index.primary and column.name not in index.columns:
                yield Hit(
                    f"{quote_ident(index.name)} of {table.rel} is unique across all tenants: it leaves out "
                    f"{quote_ident(column.name)}",
                    table.rel,
                    part=index.name,
                )


def check_row_security(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tenant tables without row security."""
    for table, _ in _list_with_column(schema):
        if not table.row_security:
            enable = f"ALTER TABLE {table.rel} ENABLE ROW LEVEL SECURITY;"
            yield Hit(f"row security is not enabled for {table.rel}", table.rel, recipe=enable)


def check_policy(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tenant tables with row security and no policy that asks for the tenant."""
    for table, column in _list_with_column(schema):
        word = re.compile(rf"(?<!\w){re.escape(quote_ident(column.name))}(?!\w)")
        texts = [text for policy in table.policies for text in (policy.condition, policy.check) if text]
        if table.row_security and not any(word.search(text) for text in texts):
            yield Hit(f"no policy of {table.rel} uses {quote_ident(column.name)}", table.rel)


def check_view(schema: JudgedSchema) -> Iterator[Hit]:
    """Report views over tenant tables that do not show the tenant."""
    name = schema.policy.tenancy.column
    for view in schema.views:
        table = _find_tenant_table(schema, view, frozenset())
        if table and view.find_column(name) is None:
            yield Hit(f"{view.rel} reads {table.rel} and does not show {quote_ident(name)}", view.rel)


def _find_tenant_table(
    schema: JudgedSchema, view: CatalogRelation, seen: frozenset[str]
) -> CatalogRelation | None:
    """Return a tenant table that a view reads, itself or through other views."""
    for relation in schema.catalog.select(view.depends_on):
        if schema.is_tenant_table(relation):
            return relation
        if relation.rel not in seen and (
            found := _find_tenant_table(schema, relation, seen | {view.rel, relation.rel})
        ):
            return found
    return None


def check_search_path(schema: JudgedSchema) -> Iterator[Hit]:
    """Report SECURITY DEFINER functions that run with the caller's search_path."""
    for function in schema.functions:
        if function.security_definer and not any(
            setting.startswith("search_path=") for setting in function.settings
        ):
            yield Hit(f"{function.rel} is SECURITY DEFINER and does not set search_path", function.rel)


RULES = (
    Rule(
        id="tenant-column",
        severity="error",
        basis="static",
        summary="a tenant table without the tenant's column",
        effect="cannot tell the rows of two tenants apart",
        risk="no policy, index or query can keep them apart either",
        check_schema=check_column,
        needs=_NEEDS,
        example=schema_examples.TENANT_COLUMN,
        remedy="add the column, or name the table in tenancy.exempt",
    ),
    Rule(
        id="tenant-column-type",
        severity="error",
        basis="static",
        summary="a tenant column of another type than tenancy.type",
        effect="casts one side of each comparison with the other tables",
        risk="joins use no index, and foreign keys between the tables are refused",
        check_schema=check_type,
        needs=("tenancy.tables", "tenancy.type"),
        example=schema_examples.TENANT_COLUMN_TYPE,
        remedy="use one type in all tables",
    ),
    Rule(
        id="tenant-column-nullable",
        severity="error",
        basis="static",
        summary="a tenant column that may be NULL",
        effect="compares NULL with no tenant, so that a policy hides the row from everybody",
        risk="the row belongs to nobody, and a foreign key with it checks nothing",
        check_schema=check_not_null,
        needs=_NEEDS,
        example=schema_examples.TENANT_COLUMN_NULLABLE,
        remedy="SET NOT NULL, by a CHECK that is validated first",
    ),
    Rule(
        id="tenant-index",
        severity="warning",
        basis="static",
        summary="a tenant table with no index that begins with the tenant's column",
        effect="reads the rows of all tenants to find those of one",
        risk="the smallest tenant waits as long as the largest",
        check_schema=check_leading_index,
        needs=_NEEDS,
        example=schema_examples.TENANT_INDEX,
        remedy="let the primary key or an index begin with it",
    ),
    Rule(
        id="tenant-foreign-key",
        severity="error",
        basis="static",
        summary="a foreign key between tenant tables without the tenant's column",
        effect="accepts a reference to the row of another tenant",
        risk="one tenant's rows show another's data, and deleting a tenant fails",
        check_schema=check_foreign_key,
        needs=_NEEDS,
        example=schema_examples.TENANT_FOREIGN_KEY,
        remedy="refer to (tenant_id, id), which needs a unique constraint there",
    ),
    Rule(
        id="tenant-unique",
        severity="error",
        basis="static",
        summary="a unique constraint or index of a tenant table without the tenant's column",
        effect="refuses a value that another tenant has",
        risk="one tenant learns what another has stored, and cannot use it",
        check_schema=check_unique,
        needs=_NEEDS,
        example=schema_examples.TENANT_UNIQUE,
        remedy="add the tenant's column to it",
    ),
    Rule(
        id="tenant-row-security",
        severity="error",
        basis="static",
        summary="a tenant table without row security",
        effect="shows each role that may read the table all rows of all tenants",
        risk="one forgotten WHERE shows a tenant the data of the others",
        check_schema=check_row_security,
        needs=_NEEDS,
        example=schema_examples.TENANT_ROW_SECURITY,
        remedy="ENABLE ROW LEVEL SECURITY, and create a policy",
    ),
    Rule(
        id="tenant-policy",
        severity="error",
        basis="static",
        summary="row security without a policy that uses the tenant's column",
        effect="shows nobody any row if there is no policy, and all tenants' rows if none uses the column",
        risk="the table looks protected and is not",
        check_schema=check_policy,
        needs=_NEEDS,
        example=schema_examples.TENANT_POLICY,
        remedy="CREATE POLICY … USING (tenant_id = current_setting('app.tenant')::uuid)",
    ),
    Rule(
        id="tenant-view",
        severity="error",
        basis="static",
        summary="a view over tenant tables that does not show the tenant's column",
        effect="runs it with the rights of its owner, to whom no row security applies",
        risk="nobody who reads it can ask for the rows of one tenant",
        check_schema=check_view,
        needs=_NEEDS,
        example=schema_examples.TENANT_VIEW,
        remedy="select the column",
    ),
    Rule(
        id="tenant-definer-search-path",
        severity="error",
        basis="static",
        summary="a SECURITY DEFINER function that does not set search_path",
        effect="runs it with the owner's rights and finds its tables on the caller's search_path",
        risk="a caller puts a table or function of the same name in front, and acts as the owner",
        check_schema=check_search_path,
        needs=_NEEDS,
        example=schema_examples.TENANT_SEARCH_PATH,
        remedy="ALTER FUNCTION … SET search_path = pg_catalog, app",
    ),
)
