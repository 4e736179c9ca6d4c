"""A rehearsal reads only what has changed since the migration before, and misses nothing by that."""

from __future__ import annotations

from contextlib import nullcontext

import psycopg
import pytest

from confiture.postgres.session import send
from confiture.rehearsal.trace.catalog import RELATIONS_SQL, Catalog, CatalogChanges
from confiture.rehearsal.trace.snapshot import Fact, ScanCounts, SessionState, Snapshot, render_closing_sql

_KEEPER = "locktype = 'advisory' AND objid = 12345 AND pid = pg_backend_pid()"

_CHANGES = (
    "CREATE TABLE jam (id int PRIMARY KEY, fruit text)",
    "INSERT INTO jam SELECT n, 'plum' FROM generate_series(1, 500) n",
    "ANALYZE jam",
    "CREATE INDEX ON jam (fruit)",
    "ALTER TABLE jam RENAME TO jams",
    "ALTER TABLE jams ALTER COLUMN fruit TYPE varchar(9)",
    "TRUNCATE jams",
    "CREATE SCHEMA cellar; ALTER TABLE jams SET SCHEMA cellar",
    "ALTER SCHEMA cellar RENAME TO attic",
    "CREATE MATERIALIZED VIEW m AS SELECT 1 AS one WITH NO DATA",
    "REFRESH MATERIALIZED VIEW m",
    "CREATE TABLE p (d int) PARTITION BY RANGE (d); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9)",
    "ALTER TABLE p DETACH PARTITION p1",
    "SAVEPOINT s; DROP TABLE p1; ROLLBACK TO s; ALTER TABLE p1 RENAME TO q1",
    "DROP TABLE attic.jams",
)


def _begin(state: SessionState, conn: psycopg.Connection, *, keeps_facts: bool = False) -> None:
    state.begin(conn, send(conn, state.render_begin_sql(keeps_facts=keeps_facts)), keeps_facts=keeps_facts)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("keeps_facts", [False, True])
def test_a_catalog_that_is_read_again_after_each_change_is_the_whole_catalog(
    database: psycopg.Connection, *, keeps_facts: bool, nested: bool
) -> None:
    """Renames, new files, statistics written in place, schemas, partitions and undone changes are noticed."""
    state = SessionState()

    with database.transaction():
        _begin(state, database)
        for change in _CHANGES:
            with database.transaction() if nested else nullcontext():
                database.execute(change.encode())
            _begin(state, database, keeps_facts=keeps_facts)

            whole = Catalog.from_rows(*send(database, RELATIONS_SQL))
            assert state.catalog == whole, change


_PROVEN = (
    ("CREATE TABLE tea (id int PRIMARY KEY, leaf text UNIQUE, jam int REFERENCES jam)", ("tea",), ()),
    ("CREATE VIEW v AS SELECT * FROM jam; CREATE INDEX ON tea (jam)", ("v",), ("tea",)),
    ("ALTER TABLE jam ADD COLUMN r float8 DEFAULT random()", (), ("jam",)),
    ("ALTER TABLE tea ADD FOREIGN KEY (id) REFERENCES jam; CREATE INDEX ON jam (r)", (), ("tea", "jam")),
    ("COMMENT ON TABLE jam IS 'of plums'; CREATE SCHEMA cellar", (), ()),
    # As if PostgreSQL's counter of oids had begun again: what is new has a lower oid than another.
    ("ALTER TABLE jam RENAME TO jams", ("jams",), ()),
)


def test_a_catalog_to_which_the_changes_are_added_is_the_whole_catalog(database: psycopg.Connection) -> None:
    """A rewrite gives a table, its indexes and its TOAST table new files or oids."""
    state = SessionState()
    database.execute("CREATE TABLE jam (id int PRIMARY KEY, fruit text); INSERT INTO jam VALUES (1)")

    with database.transaction():
        _begin(state, database)
        for sql, created, changed in _PROVEN:
            oids = {known.bare_name: oid for oid, known in state.catalog.relations.items()}
            changes = CatalogChanges(
                frozenset(("public", name) for name in created), frozenset(oids[name] for name in changed)
            )
            database.execute(sql.encode())
            answers = send(database, state.render_begin_sql(keeps_facts=True, changes=changes))
            state.begin(database, answers, keeps_facts=True, changes=changes)

            assert state.catalog == Catalog.from_rows(*send(database, RELATIONS_SQL)), sql
        database.execute("DROP TABLE jams CASCADE")
        _begin(state, database, keeps_facts=True)

        assert state.catalog == Catalog.from_rows(*send(database, RELATIONS_SQL))


def test_what_another_session_commits_between_two_migrations_is_noticed(
    database: psycopg.Connection, database_url: str
) -> None:
    """Its transaction was older than the last reading, and ended after it."""
    state = SessionState()
    database.execute("CREATE TABLE jam (id int)")

    with psycopg.connect(database_url) as other, database.transaction():
        other.execute("ALTER TABLE jam RENAME TO jams; CREATE TABLE tea (id int)")
        database.execute("CREATE TABLE milk (id int)")
        _begin(state, database)
        other.commit()
        _begin(state, database, keeps_facts=True)

        assert state.catalog == Catalog.from_rows(*send(database, RELATIONS_SQL))
        assert {known.bare_name for known in state.catalog.relations.values()} == {"jams", "tea", "milk"}


def test_the_locks_that_are_kept_are_the_locks_that_are_held(database: psycopg.Connection) -> None:
    """Also after a savepoint was rolled back, which releases locks."""
    state = SessionState()
    database.execute("CREATE TABLE jam (id int); CREATE TABLE tea (id int)")

    with database.transaction():
        _begin(state, database)
        assert not state.held

        database.execute("LOCK TABLE jam IN SHARE MODE; SAVEPOINT s; LOCK TABLE tea")
        _begin(state, database)
        assert {mode for _, mode in state.held} == {"ShareLock", "AccessExclusiveLock"}

        database.execute("ROLLBACK TO s; LOCK TABLE jam")
        _begin(state, database)
        assert {mode for _, mode in state.held} == {"ShareLock", "AccessExclusiveLock"}
        assert len({oid for oid, _ in state.held}) == 1


@pytest.mark.slow
def test_what_a_snapshot_makes_objects_of_does_not_grow_with_what_exists(
    database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 300 locked tables, a statement on one of them costs a handful of facts."""
    from confiture.rehearsal.trace import snapshot

    state = SessionState()
    parsed: list[str] = []
    original = snapshot.Fact.parse

    def count(text: str) -> snapshot.Fact:
        parsed.append(text)
        return original(text)

    monkeypatch.setattr(snapshot.Fact, "parse", count)

    with database.transaction():
        database.execute(
            "".join(f"CREATE TABLE t{number} (id int PRIMARY KEY);" for number in range(300)).encode()
        )
        _begin(state, database)
        parsed.clear()
        database.execute("ALTER TABLE t7 ADD COLUMN jam text")
        _begin(state, database)

    assert 0 < len(parsed) < 20


def test_the_last_snapshot_of_a_migration_is_the_first_of_the_next(database: psycopg.Connection) -> None:
    """Also if it runs no statement between, and with the locks that deferred triggers have taken."""
    kept, fresh = SessionState(), SessionState()
    database.execute("CREATE TABLE jam (id int); CREATE TABLE tea (id int)")

    with database.transaction():
        _begin(kept, database)
        database.execute("LOCK TABLE jam; CREATE TABLE milk (id int PRIMARY KEY)")
        (((facts, held),), ((wal, path),)) = send(database, render_closing_sql(_KEEPER))
        kept.take(Snapshot.parse(facts, wal, path))
        database.execute("SET search_path = pg_catalog")
        _begin(kept, database, keeps_facts=True)
        _begin(fresh, database)

        assert held is False
        assert (kept.held, kept.catalog) == (fresh.held, fresh.catalog)
        assert kept.snapshot.facts == fresh.snapshot.facts != frozenset()
        assert kept.snapshot.search_path == ("pg_catalog",)


def test_the_last_snapshot_tells_if_the_migration_lock_is_held(database: psycopg.Connection) -> None:
    """The lock has no relation, so it is no fact of the snapshot."""
    with database.transaction():
        (((facts, held),), _) = send(database, render_closing_sql(_KEEPER))
        database.execute("SELECT pg_advisory_lock(12345)")
        (((still, taken),), _) = send(database, render_closing_sql(_KEEPER))
        database.execute("SELECT pg_advisory_unlock(12345)")

    assert (facts, held, still, taken) == (None, False, None, True)


def test_a_fact_holds_the_file_and_the_scans_of_its_relation(database: psycopg.Connection) -> None:
    """In its short text, and in the long one after a scan or a rewrite, and of a view, which has no file."""
    # PostgreSQL truncates a table in its old file if the same transaction has created it.
    database.execute("CREATE TABLE tea (id int)")

    with database.transaction():
        database.execute("CREATE TABLE jam (id int); CREATE VIEW v AS SELECT 1; LOCK TABLE jam, v")
        database.execute("TRUNCATE tea; INSERT INTO tea VALUES (1); TABLE tea")
        state = SessionState()
        _begin(state, database)
        found = {(fact.oid, fact.filenode, fact.scans) for fact in map(Fact.parse, state.snapshot.facts)}
        oids = {
            name: (oid, file)
            for name, oid, file in database.execute(
                "SELECT relname, oid::bigint, coalesce(pg_relation_filenode(oid), 0)::bigint FROM pg_class"
                " WHERE relname IN ('jam', 'tea', 'v')"
            )
        }

    assert oids["jam"][0] == oids["jam"][1]
    assert oids["tea"][0] != oids["tea"][1]
    assert {
        (*oids["jam"], ScanCounts()),
        (*oids["tea"], ScanCounts(1, 1)),
        (*oids["v"], ScanCounts()),
    } <= found
