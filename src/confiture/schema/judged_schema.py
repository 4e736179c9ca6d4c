"""A schema with what the configuration expects of it: what a rule about schemas is called with."""

from __future__ import annotations

from functools import cached_property

from attrs import field, frozen

from confiture.config.schema_policy import SchemaPolicy
from confiture.schema.backfills import Backfill
from confiture.schema.name_patterns import matches_any
from confiture.schema.schema_catalog import CatalogFunction, CatalogRelation, SchemaCatalog
from confiture.schema.sides import Sides


@frozen(slots=False)
class JudgedSchema:
    """A schema and its policy.

    Attributes:
        catalog: All relations and functions, those in schemas that are not judged included.
        policy: ``[tool.confiture.schema]``.
        backfills: The read models that the backfill plugin fills.
    """

    catalog: SchemaCatalog
    policy: SchemaPolicy = field(default=SchemaPolicy())
    backfills: tuple[Backfill, ...] = field(default=(), repr=False)

    @cached_property
    def sides(self) -> Sides:
        """The write side and the read side."""
        filled = frozenset(backfill.table for backfill in self.backfills)
        return Sides(self.catalog, self.policy.cqrs, filled)

    @cached_property
    def relations(self) -> tuple[CatalogRelation, ...]:
        """The judged relations, without partitions: these are judged by their table."""
        return tuple(
            relation
            for relation in self.catalog.relations
            if not relation.partition and self._is_judged(relation.schema)
        )

    @cached_property
    def tables(self) -> tuple[CatalogRelation, ...]:
        """The judged tables."""
        return tuple(relation for relation in self.relations if relation.is_table)

    @cached_property
    def views(self) -> tuple[CatalogRelation, ...]:
        """The judged views and materialized views."""
        return tuple(relation for relation in self.relations if relation.sort in ("view", "matview"))

    @cached_property
    def functions(self) -> tuple[CatalogFunction, ...]:
        """The judged functions and procedures."""
        return tuple(function for function in self.catalog.functions if self._is_judged(function.schema))

    def _is_judged(self, schema: str) -> bool:
        return not self.policy.schemas or matches_any(self.policy.schemas, schema, schema)

    @cached_property
    def tenant_tables(self) -> tuple[CatalogRelation, ...]:
        """The judged tables that hold the rows of tenants."""
        return tuple(table for table in self.tables if self.is_tenant_table(table))

    def is_tenant_table(self, relation: CatalogRelation) -> bool:
        """Return True if the table holds the rows of tenants."""
        tenancy = self.policy.tenancy
        return (
            relation.is_table
            and matches_any(tenancy.tables, relation.schema, relation.name)
            and not matches_any(tenancy.exempt, relation.schema, relation.name)
        )
