"""The schema of a database as one frozen value, which the rules about schemas judge."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Literal

from attrs import field, frozen

from confiture.sql.quote import quote_name

RelationSort = Literal["table", "view", "matview", "foreign"]


@frozen
class CatalogColumn:
    """One column.

    Attributes:
        type: As PostgreSQL prints it, ``"numeric(10,2)"``.
        not_null: True if it is NOT NULL.
        comment: ``None`` if there is none.
    """

    name: str
    type: str
    not_null: bool = False
    comment: str | None = None


@frozen
class CatalogConstraint:
    """One constraint of a table.

    Attributes:
        sort: PostgreSQL's letter: ``p`` primary key, ``u`` unique, ``f`` foreign key, ``c`` check, ``x``
            exclusion, ``n`` not null.
        columns: Its columns in order; of a check, those that it names.
        valid: False if it is NOT VALID.
        target: The table that a foreign key refers to, as reports spell it.
        target_columns: The columns there, in the order of ``columns``.
    """

    name: str
    sort: str
    columns: tuple[str, ...]
    valid: bool = True
    target: str | None = None
    target_columns: tuple[str, ...] = ()


@frozen
class CatalogIndex:
    """One index.

    Attributes:
        columns: The key's columns in order; ``None`` for an expression.
        included: The columns of INCLUDE.
        unique: True if it is unique.
        primary: True if it is the primary key's.
        valid: False if its build failed.
        method: ``"btree"``, ``"gin"``…
        predicate: The condition of a partial index.
        details: What else decides whether two indexes are the same, column by column: operator class,
            collation and order.
        expressions: The text of its expressions.
        of_constraint: True if a constraint owns it.
        replica_identity: True if logical replication identifies rows by it.
    """

    name: str
    columns: tuple[str | None, ...]
    included: tuple[str, ...] = ()
    unique: bool = False
    primary: bool = False
    valid: bool = True
    method: str = "btree"
    predicate: str | None = None
    details: tuple[str, ...] = ()
    expressions: str | None = None
    of_constraint: bool = False
    replica_identity: bool = False


@frozen
class RowPolicy:
    """One policy of row security.

    Attributes:
        condition: Its USING expression; ``None`` if there is none.
        check: Its WITH CHECK expression.
        relations: The relations that the two read.
    """

    name: str
    condition: str | None = None
    check: str | None = None
    relations: tuple[str, ...] = ()


@frozen
class CatalogTrigger:
    """One trigger.

    Attributes:
        function: The function that it calls, as reports spell it.
        before: True if it runs before the row is written.
    """

    name: str
    function: str
    before: bool = False


@frozen
class CatalogRelation:
    """A table, a view or a materialized view.

    Attributes:
        sort: A partitioned table is a table too.
        partitioned: True if it has partitions.
        partition: True if it is a partition of another table.
        unlogged: True if it is lost after a crash.
        row_security: True if row security is enabled.
        estimated_bytes: Its size by the planner's statistics.
        depends_on: Of a view, the relations that it reads.
        comment: ``None`` if there is none.
    """

    schema: str
    name: str
    sort: RelationSort
    columns: tuple[CatalogColumn, ...] = ()
    constraints: tuple[CatalogConstraint, ...] = ()
    indexes: tuple[CatalogIndex, ...] = ()
    policies: tuple[RowPolicy, ...] = ()
    triggers: tuple[CatalogTrigger, ...] = ()
    depends_on: tuple[str, ...] = ()
    comment: str | None = None
    partitioned: bool = False
    partition: bool = False
    unlogged: bool = False
    row_security: bool = False
    estimated_bytes: int = 0
    rel: str = field(init=False)

    @rel.default
    def _spell(self) -> str:
        return quote_name(self.schema, self.name)

    @property
    def is_table(self) -> bool:
        """True if rows are written to it."""
        return self.sort == "table"

    def find_column(self, name: str) -> CatalogColumn | None:
        """Return the column of this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def primary_key(self) -> CatalogConstraint | None:
        """The primary key, if there is one."""
        return next((constraint for constraint in self.constraints if constraint.sort == "p"), None)


@frozen
class CatalogFunction:
    """A function or procedure.

    Attributes:
        arguments: Its types, ``"integer, text"``.
        language: ``"plpgsql"``, ``"sql"``…
        definition: The CREATE FUNCTION that PostgreSQL prints; empty for other languages.
        source: Its body as written.
        security_definer: True if it runs with its owner's rights.
        settings: What it sets while it runs, ``"search_path=public"``.
        returns_trigger: True if it is a trigger's function.
        comment: ``None`` if there is none.
    """

    schema: str
    name: str
    arguments: str = ""
    language: str = "plpgsql"
    definition: str = field(default="", repr=False)
    source: str = field(default="", repr=False)
    security_definer: bool = False
    settings: tuple[str, ...] = ()
    returns_trigger: bool = False
    comment: str | None = None
    rel: str = field(init=False)

    @rel.default
    def _spell(self) -> str:
        return f"{quote_name(self.schema, self.name)}({self.arguments})"


@frozen(slots=False)
class SchemaCatalog:
    """All relations and functions of a database that are no extension's and not the ledger's.

    Attributes:
        server_version: The server's version.
        reserved: The words that PostgreSQL reserves.
    """

    relations: tuple[CatalogRelation, ...] = ()
    functions: tuple[CatalogFunction, ...] = ()
    server_version: str = ""
    reserved: frozenset[str] = frozenset()

    @cached_property
    def by_rel(self) -> Mapping[str, CatalogRelation]:
        """The relations by name, as reports spell them."""
        return {relation.rel: relation for relation in self.relations}

    @cached_property
    def _by_name(self) -> Mapping[str, CatalogRelation]:
        # `public` last, so that it wins: an unqualified name is usually found there.
        ordered = sorted(self.relations, key=lambda relation: relation.schema == "public")
        return {relation.name: relation for relation in ordered}

    def resolve(self, schema: str | None, name: str, home: str = "public") -> CatalogRelation | None:
        """Return the relation that SQL text names; without a schema, the one in ``home`` first."""
        if schema:
            return self.by_rel.get(quote_name(schema, name))
        return self.by_rel.get(quote_name(home, name)) or self._by_name.get(name)

    def resolve_written(self, written: str, home: str) -> CatalogRelation | None:
        """Return the relation that a comment or the configuration names, with its schema or without it."""
        schema, _, name = written.rpartition(".")
        return self.resolve(schema or None, name, home)

    def select(self, rels: Iterable[str]) -> Collection[CatalogRelation]:
        """Return the relations of these names, as reports spell them."""
        return [self.by_rel[rel] for rel in rels if rel in self.by_rel]
