"""Rules about the structure of a schema: keys, indexes, types, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from confiture.rules import schema_examples
from confiture.rules.rule import Hit, Rule
from confiture.sql.quote import quote_ident

if TYPE_CHECKING:
    from confiture.schema.judged_schema import JudgedSchema
    from confiture.schema.schema_catalog import CatalogConstraint, CatalogIndex, CatalogRelation

_NAMELESS = "timestamp without time zone"
_OUTSIDE = "-- confiture: no-transaction\n"
_BYTES_PER_GB = 1000**3


def check_primary_key(schema: JudgedSchema) -> Iterator[Hit]:
    """Report tables without a primary key."""
    for table in schema.tables:
        if table.primary_key is None:
            yield Hit(f"{table.rel} has no primary key", table.rel)


def check_foreign_key_index(schema: JudgedSchema) -> Iterator[Hit]:
    """Report foreign keys whose columns no index begins with."""
    for table in schema.tables:
        for key in table.constraints:
            if key.sort == "f" and not any(_serves(index, key) for index in table.indexes):
                columns = ", ".join(map(quote_ident, key.columns))
                create = f"{_OUTSIDE}CREATE INDEX CONCURRENTLY ON {table.rel} ({columns});"
                name = quote_ident(key.name)
                yield Hit(
                    f"no index of {table.rel} begins with ({columns}), the foreign key {name}",
                    table.rel,
                    # An index of a partitioned table cannot be built CONCURRENTLY.
                    recipe=None if table.partitioned else create,
                    part=key.name,
                )


def _serves(index: CatalogIndex, key: CatalogConstraint) -> bool:
    """Return True if an index finds the rows that refer to a deleted row."""
    count = len(key.columns)
    # The order of the first columns does not matter: all of them are compared for equality.
    found = len(index.columns) >= count and {*index.columns[:count]} == {*key.columns}
    return found and index.valid and index.method in ("btree", "hash") and _covers_keys(index, key)


def _covers_keys(index: CatalogIndex, key: CatalogConstraint) -> bool:
    # A foreign key looks for no NULL, so an index without them is as good as one of all rows.
    without_nulls = {f"({quote_ident(column)} IS NOT NULL)" for column in key.columns}
    return index.predicate is None or index.predicate in without_nulls


def check_duplicate_index(schema: JudgedSchema) -> Iterator[Hit]:
    """Report indexes that are the same as another one of the table."""
    for relation in schema.relations:
        kept: dict[object, CatalogIndex] = {}
        for index in sorted((index for index in relation.indexes if index.valid), key=_rank_index):
            first = kept.setdefault(_identify(index), index)
            if first is not index and not _is_needed(index):
                yield _make_drop_hit(relation, index, f"is the same index as {quote_ident(first.name)}")


def check_redundant_index(schema: JudgedSchema) -> Iterator[Hit]:
    """Report indexes that another one begins with, and those that can hold no row."""
    for relation in schema.relations:
        for index in relation.indexes:
            if _is_needed(index):
                continue
            if index.predicate == "false":
                yield _make_drop_hit(relation, index, "holds no row: its condition is false")
            elif longer := next((other for other in relation.indexes if _extends(other, index)), None):
                what = f"is not needed: {quote_ident(longer.name)} begins with its columns"
                yield _make_drop_hit(relation, index, what)


def _rank_index(index: CatalogIndex) -> tuple[bool, bool, str]:
    """Return what puts the index to keep first."""
    return not _is_needed(index), not index.unique, index.name


def _is_needed(index: CatalogIndex) -> bool:
    return index.of_constraint or index.primary or index.replica_identity or not index.valid


def _identify(index: CatalogIndex) -> object:
    """Return what two indexes with the same entries have in common; a unique one can replace another."""
    return (
        index.method,
        index.columns,
        index.details,
        index.predicate,
        index.expressions,
        frozenset(index.included),
    )


def _extends(other: CatalogIndex, index: CatalogIndex) -> bool:
    """Return True if every search that uses ``index`` can use ``other``."""
    count = len(index.columns)
    return (
        other.valid
        and not index.unique
        and len(other.columns) > count
        and other.method == index.method == "btree"
        and other.columns[:count] == index.columns
        and other.details[:count] == index.details[:count]
        and None not in index.columns
        and other.predicate == index.predicate
        and not index.included
    )


def _make_drop_hit(relation: CatalogRelation, index: CatalogIndex, what: str) -> Hit:
    name = f"{quote_ident(relation.schema)}.{quote_ident(index.name)}"
    drop = f"{_OUTSIDE}DROP INDEX CONCURRENTLY {name};"
    return Hit(
        f"the index {quote_ident(index.name)} of {relation.rel} {what}",
        relation.rel,
        recipe=f"DROP INDEX {name};" if relation.partitioned else drop,
        part=index.name,
    )


def check_invalid_index(schema: JudgedSchema) -> Iterator[Hit]:
    """Report indexes whose build failed."""
    for relation in schema.relations:
        for index in relation.indexes:
            if not index.valid:
                yield Hit(
                    f"the index {quote_ident(index.name)} of {relation.rel} is invalid",
                    relation.rel,
                    part=index.name,
                )


def check_not_valid(schema: JudgedSchema) -> Iterator[Hit]:
    """Report constraints that were never validated."""
    for table in schema.tables:
        for constraint in table.constraints:
            if not constraint.valid:
                name = quote_ident(constraint.name)
                yield Hit(
                    f"the constraint {name} of {table.rel} is NOT VALID",
                    table.rel,
                    recipe=f"ALTER TABLE {table.rel} VALIDATE CONSTRAINT {name};",
                    part=constraint.name,
                )


def check_unlogged(schema: JudgedSchema) -> Iterator[Hit]:
    """Report unlogged tables."""
    for table in schema.tables:
        if table.unlogged:
            yield Hit(f"{table.rel} is UNLOGGED", table.rel)


def check_giant(schema: JudgedSchema) -> Iterator[Hit]:
    """Report large tables without partitions, by the planner's estimate."""
    for table in schema.tables:
        size_bytes = table.estimated_bytes
        if size_bytes > schema.policy.structure.partition_above_bytes and not table.partitioned:
            yield Hit(
                f"{table.rel} has about {size_bytes / _BYTES_PER_GB:.0f} GB and no partitions", table.rel
            )


def check_timestamp(schema: JudgedSchema) -> Iterator[Hit]:
    """Report columns of type timestamp without time zone."""
    for table in schema.tables:
        for column in table.columns:
            if column.type.startswith("timestamp") and _NAMELESS in _drop_precision(column.type):
                yield Hit(
                    f"{table.rel}.{quote_ident(column.name)} is a timestamp without time zone",
                    table.rel,
                    part=column.name,
                )


def _drop_precision(type_name: str) -> str:
    head, _, rest = type_name.partition("(")
    return f"{head}{rest.partition(')')[2]}" if rest else type_name


RULES = (
    Rule(
        id="schema-primary-key",
        severity="error",
        basis="static",
        summary="a table without a primary key",
        effect="cannot tell two equal rows apart, and logical replication can neither update nor delete them",
        risk="a row that was written twice cannot be removed once, and the table cannot be moved online",
        check_schema=check_primary_key,
        example=schema_examples.PRIMARY_KEY,
        remedy="add a primary key",
    ),
    Rule(
        id="schema-foreign-key-index",
        severity="warning",
        basis="static",
        summary="a foreign key without an index on its columns",
        effect="reads the whole referencing table for each row that is deleted from the referenced one",
        risk="a DELETE there takes minutes, and holds its locks as long",
        check_schema=check_foreign_key_index,
        example=schema_examples.FOREIGN_KEY_INDEX,
        remedy="create an index CONCURRENTLY that begins with the foreign key's columns",
    ),
    Rule(
        id="schema-duplicate-index",
        severity="warning",
        basis="static",
        summary="two indexes of a table that are the same",
        effect="writes both for each row, and uses one of them",
        risk="each write pays twice, and the cache holds the same pages twice",
        check_schema=check_duplicate_index,
        example=schema_examples.DUPLICATE_INDEX,
        remedy="drop one of the two CONCURRENTLY",
    ),
    Rule(
        id="schema-redundant-index",
        severity="warning",
        basis="static",
        summary="an index that no query needs, by its definition",
        effect="can answer each query that uses it with the longer index, or with none if it holds no row",
        risk="each write pays for it",
        check_schema=check_redundant_index,
        example=schema_examples.REDUNDANT_INDEX,
        remedy="drop it CONCURRENTLY",
    ),
    Rule(
        id="schema-invalid-index",
        severity="error",
        basis="static",
        summary="an invalid index",
        effect="writes it for each row and never reads it",
        risk="queries are slow although the index seems to be there, and a unique one may not be unique",
        check_schema=check_invalid_index,
        example=schema_examples.INVALID_INDEX,
        remedy="drop it and build it again, both CONCURRENTLY",
    ),
    Rule(
        id="schema-not-valid",
        severity="warning",
        basis="static",
        summary="a constraint that is still NOT VALID",
        effect="checks new rows only, and plans no query by the constraint",
        risk="old rows may break the rule that the code relies on",
        check_schema=check_not_valid,
        example=schema_examples.NOT_VALID,
        remedy="VALIDATE CONSTRAINT, which lets reads and writes go on",
    ),
    Rule(
        id="schema-unlogged",
        severity="warning",
        basis="static",
        summary="an unlogged table",
        effect="empties it after a crash, and does not replicate it",
        risk="the rows are lost with the first power failure",
        check_schema=check_unlogged,
        example=schema_examples.UNLOGGED,
        remedy="ALTER TABLE … SET LOGGED, or an ignore that says why the rows may be lost",
    ),
    Rule(
        id="schema-unpartitioned-giant",
        severity="warning",
        basis="static",
        summary="a table above structure.partition_above (100 GB) without partitions, by estimate",
        effect="vacuums, rewrites and scans it as a whole",
        risk="old rows cannot be dropped, and each maintenance takes hours",
        check_schema=check_giant,
        example=schema_examples.GIANT,
        remedy="partition it by time or by tenant",
    ),
    Rule(
        id="schema-timestamp",
        severity="warning",
        basis="static",
        summary="a timestamp without time zone",
        effect="stores what the clock of the session showed, without its time zone",
        risk="two sessions with different time zones write different times for the same moment",
        check_schema=check_timestamp,
        example=schema_examples.TIMESTAMP,
        remedy="use timestamptz",
    ),
)
