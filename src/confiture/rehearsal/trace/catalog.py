"""The relations that existed before a migration, read in the migration's session.

A lock on a dropped relation is in ``pg_locks`` until the commit, but a join with ``pg_class`` loses it.
So oids are resolved with this catalog.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import Factory, define, field, frozen
from psycopg import Connection

from confiture.models.report import RelationKind
from confiture.postgres.locks import KIND_BY_RELKIND
from confiture.postgres.session import fetch_rows
from confiture.sql.quote import quote_name

# The first oid that PostgreSQL gives to objects that users create (FirstNormalObjectId).
FIRST_OID = 16384

# No other session can wait for a temporary relation. Composite types ('c') have no rows.
_LISTED = f"c.oid >= {FIRST_OID} AND c.relpersistence <> 't' AND c.relkind <> 'c'"
_COLUMNS = """
    c.relname::text, c.relkind::text, c.relfilenode::bigint, c.reltuples, c.relpages, c.relispartition,
        c.relkind = 'm' AND c.relispopulated AND c.reltuples < 0
"""
_RELATIONS_SQL = f"""
    SELECT c.oid::bigint, n.nspname::text, i.indrelid::bigint, {_COLUMNS}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE {_LISTED}
"""
_INHERITED_SQL = "SELECT inhrelid::bigint, inhparent::bigint FROM pg_inherits"
RELATIONS_SQL = f"{_RELATIONS_SQL}; {_INHERITED_SQL}"
# One number that tells if a row has changed: an update gives it another place (ctid) and transaction (xmin),
# but VACUUM, ANALYZE and CREATE INDEX write pages and rows into the row that is there. The factors are
# arbitrary: they keep two changes from cancelling out. PostgreSQL has no cast from xid to a number, but the
# difference of two ages is one, and does not move with the counter of transactions as an age alone does.
_VERSION = """
    (c.oid::bigint * 31 + ((age(c.xmin)::bigint - age('3'::xid)) & 4294967295) * 1000003
        + c.relpages::bigint * 10007 + hashfloat4(c.reltuples) + hashtid(c.ctid))
"""
# The age that no row written from now on exceeds: within a transaction, PostgreSQL counts all ages from one
# number.
_HORIZON = "age(pg_snapshot_xmax(pg_current_snapshot())::xid)"
# It also lists what the session has scanned. A session does not send its counters to the shared statistics
# after every transaction: scans of earlier ones may be counted still, also of relations that are not locked
# any more.
_VERSIONS_SQL = f"""
    SELECT string_agg(c.oid::bigint || ',' || {_VERSION}, ';') FILTER (WHERE {{recent}}),
        coalesce(sum({_VERSION}) FILTER (WHERE NOT ({{recent}})), 0)::text,
        string_agg(c.oid::bigint || ',' || pg_stat_get_xact_numscans(c.oid)
            || ',' || pg_stat_get_xact_tuples_returned(c.oid), ';')
            FILTER (WHERE c.relkind IN ('r', 'm', 'i') AND pg_stat_get_xact_numscans(c.oid) > 0),
        {_HORIZON},
        (SELECT string_agg(oid::bigint || ',' || xmin || ctid, ';' ORDER BY oid) FROM pg_namespace),
        (SELECT count(*) || ',' || coalesce(sum(age(xmin)::bigint), 0) || ','
            || coalesce(sum(hashtid(ctid)::bigint), 0) FROM pg_inherits)
    FROM pg_class c WHERE {_LISTED}
"""
# Without a join, and with arrays that keep it an index scan: to plan it costs more than to run it.
_CHANGED_SQL = f"""
    SELECT c.oid::bigint, (SELECT nspname::text FROM pg_namespace WHERE oid = c.relnamespace),
        (SELECT indrelid::bigint FROM pg_index WHERE indexrelid = c.oid), {_COLUMNS},
        {_VERSION}, pg_stat_get_xact_numscans(c.oid), pg_stat_get_xact_tuples_returned(c.oid)
    FROM pg_class c WHERE {_LISTED} AND (c.oid > {{newest}} OR c.oid = ANY (ARRAY[{{tables}}]::oid[]
        || ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = ANY (ARRAY[{{tables}}]::oid[]))))
"""
# For so long, what other sessions commit may stay unnoticed: within one migration it does anyway.
_RECENT_S = 1.0
# min_parallel_table_scan_size's default: 8 MB.
_PARALLEL_PAGES = 1024


@frozen
class KnownRelation:
    """A relation as it was before the migration.

    Attributes:
        oid: Its oid in ``pg_class``.
        schema: The name of its schema, unquoted.
        bare_name: Its name without the schema, unquoted.
        name: Schema-qualified, quoted only if PostgreSQL would quote it.
        kind: Table, index, view and so on.
        partitioned: True for a partitioned table or index, which stores no rows.
        partition: True for a partition.
        filenode: The number of its file; 0 if it has none.
        tuples: PostgreSQL's estimate of its rows; -1 if it was never analyzed or vacuumed.
        pages: PostgreSQL's estimate of its pages.
        table_oid: For an index, the oid of its table; else ``None``.
        filled: True for a populated materialized view that was never analyzed or vacuumed.
    """

    oid: int
    schema: str
    bare_name: str
    name: str
    kind: RelationKind
    partitioned: bool
    partition: bool
    filenode: int
    tuples: float
    pages: int
    table_oid: int | None
    filled: bool

    @property
    def may_be_scanned_in_parallel(self) -> bool:
        """True if parallel workers may scan it, whose rows this session's counters leave out."""
        return self.pages >= _PARALLEL_PAGES


@frozen
class Catalog:
    """The relations that existed before the migration, and their inheritance.

    Attributes:
        relations: The relations by oid.
        parents: The oids of the parents by the oid of the child.
    """

    relations: dict[int, KnownRelation] = Factory(dict)
    parents: dict[int, tuple[int, ...]] = Factory(dict)
    _oids_by_name: dict[tuple[str, str], int] = Factory(
        lambda catalog: _index_names(catalog.relations), takes_self=True
    )

    @classmethod
    def from_rows(cls, relations: Iterable[tuple[Any, ...]], inherited: Iterable[tuple[int, int]]) -> Catalog:
        """Build a catalog from the two results of ``RELATIONS_SQL``."""
        parents = _collect_parents(inherited)
        return cls({row[0]: _build_relation(row) for row in relations}, parents)

    def update(
        self, gone: Iterable[int], changed: Iterable[tuple[Any, ...]], parents: dict[int, tuple[int, ...]]
    ) -> Catalog:
        """Return a catalog without the relations that are gone, and with these rows of ``_RELATIONS_SQL``."""
        relations, names = dict(self.relations), dict(self._oids_by_name)
        new = {row[0]: _build_relation(row) for row in changed}
        for oid in (*gone, *new):
            if old := relations.pop(oid, None):
                names.pop((old.schema, old.bare_name), None)
        return Catalog(relations | new, parents, names | _index_names(new))

    def find_replaced(self, rows: Iterable[tuple[Any, ...]]) -> tuple[int, ...]:
        """Return the relations whose names others have in these rows: a rewrite makes a new TOAST table."""
        found = ((row[0], self._oids_by_name.get((row[1], row[3]))) for row in rows)
        return tuple(old for oid, old in found if old is not None and old != oid)

    def resolve_name(self, schema: str | None, name: str, search_path: Sequence[str]) -> KnownRelation | None:
        """Return the relation that a name in SQL text refers to, or ``None``."""
        for candidate in (schema,) if schema else search_path:
            if (oid := self._oids_by_name.get((candidate, name))) is not None:
                return self.relations[oid]
        return None

    def list_names(self, oids: Iterable[int]) -> tuple[str, ...]:
        """Return the names of the relations that existed before, sorted."""
        return tuple(sorted(self.relations[oid].name for oid in oids if oid in self.relations))

    def find_table(self, oid: int) -> int:
        """Return the oid of an index's table; for any other relation, return ``oid``."""
        relation = self.relations.get(oid)
        return relation.table_oid if relation and relation.table_oid else oid

    def find_indexes(self, oids: Iterable[int]) -> tuple[int, ...]:
        """Return the indexes of these tables."""
        tables = set(oids)
        return tuple(oid for oid, relation in self.relations.items() if relation.table_oid in tables)

    def find_ancestors(self, oid: int) -> Iterator[int]:
        """Yield the parents of a relation, and their ancestors."""
        for parent in self.parents.get(oid, ()):
            yield parent
            yield from self.find_ancestors(parent)

    def find_children(self, oid: int) -> tuple[int, ...]:
        """Return the partitions or inheritance children of a relation."""
        return tuple(child for child, parents in self.parents.items() if oid in parents)

    def find_descendants(self, oid: int) -> frozenset[int]:
        """Return the children of a relation, and their descendants."""
        return frozenset(child for child in self.parents if oid in self.find_ancestors(child))


@frozen
class CatalogChanges:
    """What a migration has changed in the catalog, if its text proves that it has changed nothing else.

    Attributes:
        created: The relations that it has created, by schema and name; with indexes, sequences and TOAST.
        tables: Other tables that it may have rewritten, or whose indexes it has changed.
    """

    created: frozenset[tuple[str, str]] = frozenset()
    tables: frozenset[int] = frozenset()


@define
class CatalogReader:
    """Reads the catalog of one session, again and again: only relations that have changed since.

    Attributes:
        catalog: The catalog as last read.
        ignored: Relations to leave out of it.
    """

    catalog: Catalog = field(factory=Catalog)
    ignored: frozenset[int] = frozenset()
    _versions: dict[int, int] = field(factory=dict)
    _total: int = 0
    _horizon: int | None = None
    _namespaces: str | None = None
    _inherited: str | None = None
    _read_at_s: float = -_RECENT_S

    @property
    def is_recent(self) -> bool:
        """True if everything was read a moment ago."""
        return time.monotonic() - self._read_at_s < _RECENT_S

    def render_changed_sql(self, changes: CatalogChanges) -> str:
        """Return the query whose rows ``add`` takes."""
        tables = ", ".join(map(str, sorted(changes.tables)))
        return _CHANGED_SQL.format(newest=max(self.catalog.relations, default=FIRST_OID), tables=tables)

    def add(
        self, conn: Connection[Any], rows: Sequence[tuple[Any, ...]], changes: CatalogChanges
    ) -> list[tuple[int, int, int]]:
        """Bring the catalog up to date with these rows, and return the scan counters of each relation."""
        found = [row for row in rows if row[0] not in self.ignored]
        gone = self.catalog.find_replaced(found)
        self._total -= sum(self._versions.pop(oid, 0) for oid in (*gone, *(row[0] for row in rows)))
        self._versions |= {row[0]: row[-3] for row in rows}
        self._total += sum(row[-3] for row in rows)
        self.catalog = self.catalog.update(gone, (row[:-3] for row in found), self.catalog.parents)
        if any(self.catalog.resolve_name(*name, ()) is None for name in changes.created):
            # PostgreSQL's counter of oids has begun again, and they are lower than older ones.
            self.read(conn, fetch_rows(conn, _VERSIONS_SQL.format(recent="true"))[0])
        return [(row[0], *row[-2:]) for row in rows]

    def render_sql(self, *, same_transaction: bool) -> str:
        """Return the query whose row ``read`` takes.

        In the transaction of the last reading, it lists only the versions of rows that were written since;
        the sum of the others tells if they are what they were.
        """
        known = same_transaction and self._horizon is not None
        recent = f"age(c.xmin) <= {self._horizon}" if known else "true"
        return _VERSIONS_SQL.format(recent=recent)

    def read(self, conn: Connection[Any], row: tuple[Any, ...]) -> str | None:
        """Bring the catalog up to date, and return the scan counters as text."""
        scanned: str | None
        self._read_at_s = time.monotonic()
        listed, rest, scanned, horizon, namespaces, inherited = row
        written = _parse_versions(listed)
        unread = self._total - sum(self._versions.get(oid, 0) for oid in written)
        if rest == "0":
            versions = written
        elif int(rest) == unread and namespaces == self._namespaces:
            versions = self._versions | written
        else:
            # A relation was dropped, a schema renamed, or another transaction has changed something.
            listed, *_ = fetch_rows(conn, _VERSIONS_SQL.format(recent="true"))[0]
            versions = written = _parse_versions(listed)
        # A schema's new name is in the name of each of its relations.
        known = self._versions if namespaces == self._namespaces else {}
        changed = {oid for oid, version in written.items() if known.get(oid) != version} - self.ignored
        self._update(conn, self._versions.keys() - versions.keys(), changed, inherited)
        self._versions, self._total = versions, sum(versions.values())
        self._namespaces, self._horizon = namespaces, horizon
        return scanned

    def _update(
        self, conn: Connection[Any], gone: Collection[int], changed: set[int], inherited: str | None
    ) -> None:
        if not gone and not changed and inherited == self._inherited:
            return
        parents = self.catalog.parents
        if inherited != self._inherited:
            parents = _collect_parents(fetch_rows(conn, _INHERITED_SQL))
        rows = fetch_rows(conn, _render_relations_sql(changed)) if changed else []
        self.catalog = self.catalog.update(gone, rows, parents)
        self._inherited = inherited


# A list of this many oids is slower to look up than reading all relations.
_MOST_LISTED = 1000


def _render_relations_sql(oids: set[int]) -> str:
    if len(oids) > _MOST_LISTED:
        return _RELATIONS_SQL
    return f"{_RELATIONS_SQL} AND c.oid IN ({', '.join(map(str, sorted(oids)))})"


def _parse_versions(listed: str | None) -> dict[int, int]:
    pairs = (text.split(",") for text in listed.split(";")) if listed else ()
    return {int(oid): int(version) for oid, version in pairs}


def _index_names(relations: Mapping[int, KnownRelation]) -> dict[tuple[str, str], int]:
    return {(relation.schema, relation.bare_name): oid for oid, relation in relations.items()}


def _collect_parents(inherited: Iterable[tuple[Any, ...]]) -> dict[int, tuple[int, ...]]:
    parents: dict[int, tuple[int, ...]] = {}
    for child, parent in inherited:
        parents[child] = (*parents.get(child, ()), parent)
    return parents


def _build_relation(row: tuple[Any, ...]) -> KnownRelation:
    oid, schema, table, bare, kind, filenode, tuples, pages, partition, filled = row
    return KnownRelation(
        oid=oid,
        schema=schema,
        bare_name=bare,
        name=quote_name(schema, bare),
        kind="toast" if schema == "pg_toast" else KIND_BY_RELKIND[kind],
        partitioned=kind in ("p", "I"),
        partition=partition,
        filenode=filenode,
        tuples=tuples,
        pages=pages,
        table_oid=table,
        filled=filled,
    )
