"""What the text says that a statement locks is what PostgreSQL locks."""

import psycopg
import pytest

from confiture.sql.lock_modes import ExpectedLock, find_expected_locks
from tests.postgres.lock_forms import FORMS, KITCHEN, SINCE

STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
HELD = """
    SELECT relation::bigint, mode FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted
"""
RELATIONS = """
    SELECT oid::bigint, relname::text, relkind::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind <> 'c'
"""
HEIRS = """
    WITH RECURSIVE below AS (
        SELECT inhparent::bigint AS top, inhrelid::bigint AS oid FROM pg_inherits
        UNION SELECT top, inhrelid::bigint FROM below JOIN pg_inherits ON inhparent = below.oid
    ) SELECT top, oid FROM below
    UNION ALL SELECT ev_class::bigint, refobjid::bigint FROM pg_rewrite JOIN pg_depend d
        ON d.objid = pg_rewrite.oid WHERE d.refclassid = 'pg_class'::regclass AND refobjid <> ev_class
        AND ev_class IN (SELECT oid FROM pg_class WHERE relkind = 'v')
"""
INDEXES = """
    SELECT indrelid::bigint, indexrelid::bigint, relkind = 'i' FROM pg_index JOIN pg_class c ON c.oid = indexrelid
"""


@pytest.fixture(scope="module")
def kitchen(server, _confiture_templates):
    """A session on one database for all of these: each statement is rolled back."""
    name = _confiture_templates.copy("template0")
    with psycopg.connect(server.conninfo(name)) as conn:
        if conn.info.parameter_status("is_superuser") != "on":
            pytest.skip("foreign-data wrappers and owners can only be had by a superuser")
        conn.execute(KITCHEN)
        conn.commit()
        yield Kitchen(conn)
    _confiture_templates.drop(name)


class Kitchen:
    """What there is, and what belongs to what."""

    def __init__(self, conn):
        self.conn = conn
        self.oids = {name: oid for oid, name, _ in conn.execute(RELATIONS)}
        self.names = {oid: name for name, oid in self.oids.items()}
        self.heirs = conn.execute(HEIRS).fetchall()
        self.indexes = conn.execute(INDEXES).fetchall()
        conn.rollback()

    def family(self, oid):
        """Return a relation with its partitions and heirs; of a view what it reads."""
        return [oid, *(below for top, below in self.heirs if top == oid)]

    def held(self, sql):
        """Run a statement alone; return the strongest mode by relation, Share or stronger."""
        try:
            self.conn.execute(sql)
            found: dict[str, str] = {}
            for oid, mode in self.conn.execute(HELD):
                name = self.names.get(oid)
                if name and mode in STRONG:
                    found[name] = max(found.get(name, mode), mode, key=STRONG.index)
            return found
        finally:
            self.conn.rollback()

    def spread(self, each: ExpectedLock):
        """Return the certain locks by relation, and the relations that may be locked besides."""
        oid = self.oids[each.relation]
        family = self.family(oid)
        sure = {oid} | set(family if each.children else ())
        maybe = set(family if each.children is None else ())
        modes = dict.fromkeys(sure, each.mode)
        for table, index, has_file in self.indexes:
            if table in sure and each.also_indexes and has_file:
                modes[index] = "AccessExclusiveLock"
            elif table in sure | maybe and each.also_indexes is not False:
                maybe.add(index)
            elif index in sure and each.table_mode:
                modes |= dict.fromkeys(self.family(table), each.table_mode)
        return {self.names[one]: mode for one, mode in modes.items()}, {self.names[one] for one in maybe}


@pytest.mark.parametrize("sql", FORMS)
def test_a_statement_locks_what_its_text_says(kitchen, sql):
    if kitchen.conn.info.server_version // 10000 < SINCE.get(sql, 0):
        pytest.skip(f"before PostgreSQL {SINCE[sql]} there is no such statement")
    expected = find_expected_locks(sql)
    named = [expected_lock for expected_lock in expected if expected_lock.relation]
    unnamed = [expected_lock for expected_lock in expected if not expected_lock.relation]

    held = kitchen.held(sql)

    sure: dict[str, str] = {}
    maybe: set[str] = set()
    for expected_lock in named:
        certain, possible = kitchen.spread(expected_lock)
        for name, mode in certain.items():
            sure[name] = max(sure.get(name, mode), mode, key=STRONG.index)
        maybe |= possible
    assert {name: held.get(name) for name in sure} == sure
    beyond = {name: mode for name, mode in held.items() if name not in sure and name not in maybe}
    assert not beyond or unnamed
    assert all(
        any(STRONG.index(mode) <= STRONG.index(one.mode) for one in unnamed) for mode in beyond.values()
    )


@pytest.mark.parametrize(
    "sql, relation, mode",
    [
        ("VACUUM (FULL) jam", "jam", "AccessExclusiveLock"),
        ("ALTER TABLE metric DETACH PARTITION metric_a CONCURRENTLY", "metric_a", "AccessExclusiveLock"),
        ("DROP INDEX CONCURRENTLY jam_ix", "jam_ix", "AccessExclusiveLock"),
        ("CLUSTER jam", "jam", "AccessExclusiveLock"),
        ('LOCK larder."Odd Jam" IN SHARE MODE', "Odd Jam", "ShareLock"),
    ],
)
def test_what_cannot_run_beside_others_in_a_transaction_is_known_too(sql, relation, mode):
    (found,) = [lock for lock in find_expected_locks(sql) if lock.relation == relation]

    assert found.mode == mode


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX CONCURRENTLY ON jam (id)",
        "REINDEX TABLE CONCURRENTLY jam",
        "REINDEX (CONCURRENTLY) TABLE jam",
        "VACUUM jam",
        "VACUUM (FULL off) jam",
        "this is no SQL",
        "",
    ],
)
def test_what_is_weaker_than_share_is_not_expected(sql):
    assert find_expected_locks(sql) == ()


def test_a_schema_is_given_as_it_is_written():
    (found,) = find_expected_locks("ALTER TABLE larder.jam ADD COLUMN n int")

    assert (found.schema, found.relation) == ("larder", "jam")


@pytest.mark.parametrize(
    "sql", ["CLUSTER", "VACUUM FULL", "REINDEX SCHEMA larder", "REASSIGN OWNED BY a TO b"]
)
def test_what_the_text_does_not_name_says_what_it_is(sql):
    (found,) = find_expected_locks(sql)

    assert found.relation is None
    assert found.reason
