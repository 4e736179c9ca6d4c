"""Decide which statements are traced without reading the locks: the text proves all that they can reach.

Reading ``pg_locks`` costs the more the more locks are held, and a long plan holds thousands: those on all
that it has created. A statement that reaches nothing but such relations takes no lock that a snapshot would
show as new, because the transaction holds AccessExclusive on them already. ``expected_locks`` reports what
it takes again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from attrs import define, field
from psycopg import Connection

from confiture.ledger.table import Ledger
from confiture.models.lock_mode import LockMode
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.rehearsal.trace.catalog import FIRST_OID, Catalog, CatalogChanges
from confiture.rehearsal.trace.changed_rows import find_related
from confiture.rehearsal.trace.snapshot import HeldLock
from confiture.sql.reach import KNOWN_FUNCTIONS, Reach, RelationRef
from confiture.sql.statement_kind import classify_statement

_HIDES_ALL = LockMode.AccessExclusiveLock.name
# Extensions that hook into no statement. Another one may lock what no text tells.
_HARMLESS_EXTENSIONS = (
    "bloom btree_gin btree_gist citext cube dict_int earthdistance fuzzystrmatch hstore intarray isn ltree"
    " pageinspect pg_buffercache pg_stat_statements pg_trgm pgcrypto pgrowlocks pgstattuple plpgsql postgis"
    " postgres_fdw seg tablefunc tsm_system_rows unaccent uuid-ossp vector xml2"
)
# In this database, no statement does more than its text says: there are no event triggers, no functions of
# the user's that the parser's names may mean, and none behind an operator, a cast or an index. A temporary
# relation would take precedence over another of its name.
_CONDITIONS_SQL = f"""
    WITH written AS (
        SELECT p.oid, p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.oid >= {FIRST_OID} AND l.lanname NOT IN ('c', 'internal')
    )
    SELECT NOT (EXISTS (SELECT FROM pg_catalog.pg_event_trigger)
        OR EXISTS (SELECT FROM pg_catalog.pg_extension
            WHERE extname <> ALL (string_to_array({quote_literal(_HARMLESS_EXTENSIONS)}, ' ')))
        OR EXISTS (SELECT FROM written
            WHERE proname = ANY (string_to_array({quote_literal(" ".join(sorted(KNOWN_FUNCTIONS)))}, ' ')))
        OR EXISTS (SELECT FROM pg_catalog.pg_operator WHERE oprcode IN (SELECT oid FROM written))
        OR EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castfunc IN (SELECT oid FROM written))
        OR EXISTS (SELECT FROM pg_catalog.pg_amproc WHERE amproc IN (SELECT oid FROM written))
        OR EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema()
            AND relnamespace <> 0)), {{ledger}}
"""


@define
class ProvenStatements:
    """Knows the statements of one migration that were traced without reading the locks.

    A statement whose effects are not proven ends the proofs until the migration's end: it may have renamed
    what later ones name, or added partitions and event triggers.

    Attributes:
        conn: The connection that is rehearsed.
        ledger: The ledger, of which nothing is proven.
        active: False once a statement or hook of the migration may have done more than any text proves.
        changed_rows: True if the migration has changed rows, so that deferred constraints may be to check.
        created: The relations that the migration has created so far, by schema and name; true for tables.
        proves_rows: False if nothing is to be proven of statements that change rows.
        ledger_unchanged: True if the ledger takes every row, so that none need be tried.
    """

    conn: Connection[Any]
    ledger: Ledger
    active: bool = False
    changed_rows: bool = False
    proves_rows: bool = True
    ledger_unchanged: bool = False
    created: dict[RelationRef, bool] = field(factory=dict)
    _read: set[int] = field(factory=set)
    _conditions: bool | None = None

    def begin(self, *, sql_only: bool) -> None:
        """Begin a migration; without ``sql_only``, hooks or Python code run, and nothing is proven."""
        if not self.active:
            self._conditions = None
        self.created, self._read, self.changed_rows = {}, set(), False
        self.active = sql_only and self._read_conditions()

    def _read_conditions(self) -> bool:
        if self._conditions is None:
            sql = _CONDITIONS_SQL.format(ledger=self.ledger.render_unchanged_sql())
            ((self._conditions, self.ledger_unchanged),) = fetch_rows(self.conn, sql)
        return self._conditions

    def find_reached(
        self, sql: str, catalog: Catalog, held: Collection[HeldLock], search_path: Sequence[str]
    ) -> tuple[int, ...] | None:
        """Return the relations to ask about after a statement; ``None`` if all locks must be read.

        Args:
            sql: The statement, before it runs.
            catalog: The relations that existed before the migration.
            held: The locks that the transaction held before it.
            search_path: The schemas in which its names are looked up.
        """
        # PostgreSQL first looks in the schemas that the user put explicitly before or behind its own.
        ordinary = not any(schema.startswith("pg_") for schema in search_path)
        reach = classify_statement(sql).reach if self.active and ordinary else None
        self.active = reach is not None
        if reach is None:
            return None
        found = [self._resolve(name, catalog, held, search_path) for name in reach.relations]
        self.active = None not in found and self._note_created(reach, search_path)
        if not self.active:
            return None
        known = tuple(oid for oid in found if oid)
        if reach.events:
            related = find_related(self.conn, reach, search_path) if self.proves_rows else None
            self.active, self.changed_rows = related is not None, True
            return None if related is None else tuple(dict.fromkeys((*known, *related)))
        self._read.update(known if reach.reads else ())
        return known if reach.reads else ()

    def find_changes(self) -> CatalogChanges | None:
        """Return all that the migration has changed in the catalog, ``None`` if it is not proven."""
        return CatalogChanges(frozenset(self.created), frozenset(self._read)) if self.active else None

    def _resolve(
        self, name: RelationRef, catalog: Catalog, held: Collection[HeldLock], search_path: Sequence[str]
    ) -> int | None:
        """Return the oid of a table that hides every new lock, 0 if it is new; else ``None``."""
        # Of several schemas only the first: a relation there would take precedence, and may be of any kind.
        schema, bare_name = name[0] or next(iter(search_path), ""), name[1]
        if (schema, bare_name) in self.created:
            return 0 if self.created[schema, bare_name] else None
        if schema == self.ledger.schema:
            return None
        known = catalog.resolve_name(schema, bare_name, ())
        if known is None or known.kind != "table" or known.partitioned or known.partition:
            return None
        alone = not catalog.find_children(known.oid) and known.oid not in catalog.parents
        return known.oid if alone and (known.oid, _HIDES_ALL) in held else None

    def _note_created(self, reach: Reach, search_path: Sequence[str]) -> bool:
        if reach.creates is None:
            return True
        schema = reach.creates[0] or next(iter(search_path), "")
        self.created[schema, reach.creates[1]] = reach.creates_table
        return bool(schema)

    def find_held(self, catalog: Catalog) -> frozenset[HeldLock]:
        """Return the locks that the migration holds on what it has created, once ``catalog`` lists it."""
        found = (catalog.resolve_name(schema, name, ()) for schema, name in self.created)
        return frozenset((relation.oid, _HIDES_ALL) for relation in found if relation)
