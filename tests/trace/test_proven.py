"""A statement whose text proves what it reaches is traced without reading the locks, and nothing else changes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from attrs import asdict

from confiture.engine import transactional
from confiture.models.report import Report
from confiture.postgres import session
from confiture.postgres.session import send
from confiture.rehearsal.trace import trace
from confiture.rehearsal.trace.proven import ProvenStatements
from tests.project import Project

from .conftest import modes

pytestmark = pytest.mark.slow

# What differs from one rehearsal to the next.
_VARIES = ("_ms", "wal_bytes", "rewritten_bytes", "estimate", "notes", "residue")

_SHOP = """
    CREATE TABLE shops (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
    CREATE TABLE jars (id bigint PRIMARY KEY, shop bigint REFERENCES shops (id), note text);
    INSERT INTO shops (name) SELECT 'shop' FROM generate_series(1, 50);
    INSERT INTO jars SELECT n, n, 'jam' FROM generate_series(1, 50) n;
"""


# An immutable function may not lock, but it may call one that does.
_GRAB = (
    "CREATE FUNCTION grab() RETURNS void LANGUAGE plpgsql"
    " AS 'BEGIN LOCK TABLE public.customers IN SHARE MODE; END';"
)


def _write_function(signature: str, returned: str, options: str = "") -> str:
    """Return a function that locks a table, which no text of its caller tells."""
    body = f"BEGIN PERFORM public.grab(); RETURN {returned}; END"
    return f"{_GRAB} CREATE FUNCTION {signature} LANGUAGE plpgsql {options} AS '{body}';"


_EVENT_TRIGGER = (
    _write_function("sticky() RETURNS event_trigger", "").replace("RETURN ;", "")
    + "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION sticky();"
)


class Rehearsals:
    """Rehearses a plan twice: with the proofs, and with all locks read after each statement."""

    def __init__(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self.monkeypatch = monkeypatch
        self.snapshots = 0

    def __call__(self, *files: str) -> Report:
        for number, text in enumerate(files, 1):
            self.project.write(f"{number}_file.sql", text)
        with self.monkeypatch.context() as patch:
            patch.setattr(trace, "send", self._send)
            proven = self.project.rehearse()
        with self.monkeypatch.context() as patch:
            patch.setattr(ProvenStatements, "begin", lambda _proven, **_: None)
            read = self.project.rehearse()
        assert _strip(asdict(proven)) == _strip(asdict(read))
        return proven

    def _send(self, conn: psycopg.Connection[Any], message: str) -> list[list[tuple[Any, ...]]]:
        self.snapshots += "pg_locks" in message
        return send(conn, message)


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strip(part) for key, part in value.items() if not key.endswith(_VARIES)}
    return [_strip(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.fixture
def rehearse_both(project: Project, monkeypatch: pytest.MonkeyPatch) -> Rehearsals:
    return Rehearsals(project, monkeypatch)


def test_no_locks_are_read_for_what_the_plan_itself_has_created(rehearse_both: Rehearsals) -> None:
    report = rehearse_both(
        _SHOP.split("INSERT", maxsplit=1)[0],
        "ALTER TABLE jars ADD COLUMN size int; COMMENT ON COLUMN jars.size IS 'in grams';",
        "CREATE TABLE lids (id int, jar bigint REFERENCES jars (id)); CREATE INDEX ON lids (jar);"
        " CREATE VIEW v AS SELECT * FROM lids;",
    )

    assert rehearse_both.snapshots == 0
    assert [modes(migration.locks) for migration in report.migrations] == [
        {},
        {"public.jars": "AccessExclusiveLock"},
        {"public.jars": "ShareRowExclusiveLock"},
    ]
    assert {lock.seen for migration in report.migrations for lock in migration.locks} == {"held-before"}


def test_each_statement_has_what_it_scanned_and_built(rehearse_both: Rehearsals) -> None:
    report = rehearse_both(
        _SHOP,
        "CREATE INDEX jars_note ON jars (note); ALTER TABLE jars ADD FOREIGN KEY (id) REFERENCES shops (id);"
        " ALTER TABLE jars ALTER COLUMN note SET NOT NULL;",
    )

    built, keyed, checked = report.migrations[1].statements
    assert [build.index for build in built.index_builds] == ["public.jars_note"]
    assert built.scans == checked.scans == ("public.jars",)
    assert "public.jars" in keyed.scans
    assert all(statement.wal_bytes is not None for statement in report.migrations[1].statements)


def test_no_locks_are_read_for_rows_that_are_changed_where_nothing_else_may_happen(
    rehearse_both: Rehearsals,
) -> None:
    report = rehearse_both(*_TRAPS["rows of a table of the plan"])

    assert rehearse_both.snapshots == 0
    inserted, updated, deleted, copied = report.migrations[1].statements
    assert (inserted.rows, updated.rows, deleted.rows, copied.rows) == (9, 50, 0, 56)
    assert updated.scans == ("public.jars",)


def test_a_table_that_was_there_before_the_plan_is_locked_measurably(rehearse_both: Rehearsals) -> None:
    report = rehearse_both(
        "CREATE TABLE jars (customer bigint REFERENCES customers (id)); CREATE INDEX ON jars (customer);"
        " ALTER TABLE orders ADD COLUMN jar bigint; CREATE INDEX ON jars (customer);"
    )

    (migration,) = report.migrations
    assert [modes(statement.locks) for statement in migration.statements] == [
        {"public.customers": "ShareRowExclusiveLock"},
        {},
        {"public.orders": "AccessExclusiveLock"},
        {},
    ]
    assert {lock.seen for lock in migration.locks} == {"measured"}


_TRAPS = {
    "trigger function": (
        _SHOP + _write_function("sticky() RETURNS trigger", "NEW"),
        "CREATE TRIGGER t BEFORE INSERT ON jars FOR EACH ROW EXECUTE FUNCTION sticky();"
        " CREATE TABLE lids (id int REFERENCES jars (id)); INSERT INTO jars VALUES (99, 1, 'fig');"
        " CREATE INDEX ON lids (id);",
    ),
    "event trigger": (
        _SHOP + _EVENT_TRIGGER,
        "CREATE TABLE lids (id int);",
    ),
    "rule": (
        _SHOP,
        "CREATE RULE r AS ON INSERT TO jars DO ALSO UPDATE customers SET mail = '';"
        " CREATE TABLE lids (id int REFERENCES jars (id)); INSERT INTO jars VALUES (98, 1, 'fig');",
    ),
    "function in DEFAULT": (
        _SHOP + _write_function("sticky() RETURNS int", "1"),
        "ALTER TABLE jars ADD COLUMN x int DEFAULT sticky();",
    ),
    "function in an index": (
        _SHOP + _write_function("sticky() RETURNS int", "1", "IMMUTABLE"),
        "CREATE TABLE lids (id int); CREATE INDEX ON jars ((sticky()));",
    ),
    "function with a known name": (
        _SHOP + _write_function("length(bigint) RETURNS int", "1", "IMMUTABLE"),
        "CREATE INDEX ON jars (length(id));",
    ),
    "operator": (
        _SHOP
        + _write_function("sticky(bigint, bigint) RETURNS boolean", "true", "IMMUTABLE")
        + "CREATE OPERATOR <~> (FUNCTION = sticky, LEFTARG = bigint, RIGHTARG = bigint);",
        "CREATE INDEX ON jars (note) WHERE id <~> shop;",
    ),
    "domain": (
        _SHOP
        + _write_function("sticky(text) RETURNS boolean", "true", "IMMUTABLE")
        + "CREATE DOMAIN label AS text CHECK (sticky(VALUE));",
        "CREATE INDEX ON jars (note) WHERE note::label IS NOT NULL;",
        "ALTER TABLE jars ADD COLUMN l text DEFAULT 'fig'::label; ALTER TABLE shops ADD COLUMN l label;",
    ),
    "partitions": (
        _SHOP + "CREATE TABLE p (d int) PARTITION BY RANGE (d);"
        " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9); INSERT INTO p VALUES (3);",
        "CREATE INDEX ON p (d); ALTER TABLE p ADD COLUMN x int;"
        " CREATE TABLE p2 PARTITION OF p DEFAULT; CREATE INDEX ON p1 (x);",
    ),
    "inheritance": (
        _SHOP + "CREATE TABLE lids (colour text) INHERITS (jars);",
        "ALTER TABLE jars ADD COLUMN x int; CREATE TABLE lids2 () INHERITS (jars);"
        " ALTER TABLE jars ADD COLUMN y int;",
    ),
    "child made after a proven statement": (
        _SHOP,
        "ALTER TABLE jars ADD COLUMN x int; CREATE TABLE lids () INHERITS (shops);"
        " ALTER TABLE shops ADD COLUMN y int; ALTER TABLE customers ADD COLUMN y int;",
    ),
    "view": (
        _SHOP,
        "CREATE VIEW v AS SELECT * FROM orders; CREATE OR REPLACE VIEW v AS SELECT * FROM orders;"
        " ALTER TABLE v ALTER COLUMN note SET DEFAULT 'x'; CREATE INDEX ON orders (note);",
        "CREATE OR REPLACE VIEW v AS SELECT * FROM orders; ALTER TABLE v ALTER COLUMN note DROP DEFAULT;",
    ),
    "search path": (
        _SHOP
        + "CREATE SCHEMA cellar; CREATE TABLE cellar.jars (id int); CREATE TABLE cellar.orders (id int);",
        "SET search_path = cellar, public; ALTER TABLE orders ADD COLUMN x int;",
        "ALTER TABLE public.orders ADD COLUMN x int; ALTER TABLE cellar.orders ADD COLUMN y int;",
        "CREATE TABLE cellar.customers (id int); SET search_path = cellar; CREATE INDEX ON customers (id);",
    ),
    "another table under the name": (
        _SHOP,
        "ALTER TABLE jars RENAME TO cans; CREATE TABLE jars (id int); ALTER TABLE orders RENAME TO jars2;",
        "ALTER TABLE jars ADD COLUMN x int; CREATE INDEX ON cans (note); DROP TABLE jars;",
        "ALTER TABLE cans RENAME TO jars; ALTER TABLE jars ADD COLUMN z int;",
    ),
    "temporary table": (
        _SHOP,
        "CREATE TEMP TABLE jars (id int); ALTER TABLE jars ADD COLUMN x int; CREATE INDEX ON jars (id);",
        "ALTER TABLE jars ADD COLUMN x int;",
    ),
    "deferred trigger": (
        _SHOP + _write_function("sticky() RETURNS trigger", "NEW"),
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON jars DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION sticky();",
        "ALTER TABLE jars ADD COLUMN x int;",
        "CREATE TABLE lids (id int REFERENCES jars (id)); INSERT INTO jars VALUES (97, 1, 'fig');",
        "ALTER TABLE jars ADD COLUMN y int; ALTER TABLE customers ADD COLUMN y int;",
    ),
    "not rehearsed in between": (
        _SHOP,
        "CREATE TABLE lids (id int REFERENCES jars (id));",
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY ON jars (note);",
        "ALTER TABLE lids ADD COLUMN x int; ALTER TABLE jars ADD COLUMN x int;",
    ),
    "DO block": (
        _SHOP,
        "ALTER TABLE jars ADD COLUMN x int; DO $$ BEGIN ALTER TABLE shops ADD COLUMN x int;"
        " ALTER TABLE orders ADD COLUMN x int; EXCEPTION WHEN others THEN NULL; END $$;"
        " ALTER TABLE jars ADD COLUMN y int;",
        "ALTER TABLE shops ADD COLUMN y int;",
    ),
    "rewritten by a default": (
        _SHOP + "CREATE INDEX ON jars (note);",
        "ALTER TABLE jars ADD COLUMN at timestamptz DEFAULT now(); ALTER TABLE jars ADD COLUMN r float8 DEFAULT random();"
        " ALTER TABLE jars ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid(); COMMENT ON TABLE jars IS 'x';",
        "ALTER TABLE jars ALTER COLUMN u SET DEFAULT NULL; CREATE INDEX ON jars (u);",
    ),
    "rows of a table of the plan": (
        _SHOP,
        "INSERT INTO shops (name) SELECT 'x' || n FROM generate_series(1, 9) n; UPDATE jars SET note = upper(note);"
        " DELETE FROM jars USING shops WHERE shops.id = jars.shop AND shops.name = 'x1';"
        " INSERT INTO jars SELECT id + 100, id, name FROM shops WHERE id > 3;",
        "UPDATE shops SET id = DEFAULT WHERE name LIKE 'nothing%'; CREATE INDEX ON jars (note);"
        " INSERT INTO jars VALUES (1, 1, 'fig') ON CONFLICT (id) DO UPDATE SET note = excluded.note;",
    ),
    "rows read of a table that was there": (
        _SHOP,
        "INSERT INTO shops (name) SELECT note FROM orders; UPDATE jars SET note = (SELECT max(mail) FROM customers);",
        "DELETE FROM jars WHERE shop IN (SELECT id FROM orders); ALTER TABLE customers ADD COLUMN y int;",
    ),
    "key of a table that was there": (
        "CREATE TABLE bills (id int, customer bigint REFERENCES customers (id), note text);",
        "INSERT INTO bills SELECT n, n, 'x' FROM generate_series(1, 200) n; UPDATE bills SET customer = 3;",
        "DELETE FROM bills WHERE id = 7;",
    ),
    "cascade": (
        _SHOP + "CREATE TABLE lids (jar bigint REFERENCES jars (id) ON DELETE CASCADE);"
        " INSERT INTO lids SELECT id FROM jars;" + _write_function("sticky() RETURNS trigger", "OLD"),
        "CREATE TRIGGER t BEFORE DELETE ON lids FOR EACH ROW EXECUTE FUNCTION sticky();",
        "UPDATE jars SET note = 'x'; DELETE FROM jars WHERE id < 5;",
    ),
    "trigger of another event": (
        _SHOP + _write_function("sticky() RETURNS trigger", "NEW"),
        "CREATE TRIGGER t BEFORE UPDATE ON jars FOR EACH ROW EXECUTE FUNCTION sticky();",
        "INSERT INTO jars VALUES (96, 1, 'fig');"
        " INSERT INTO jars VALUES (96, 1, 'fig') ON CONFLICT (id) DO UPDATE SET note = 'x';",
    ),
    "function in an old default": (
        _SHOP + _write_function("sticky() RETURNS int", "1") + "ALTER TABLE jars ADD COLUMN x int;"
        " ALTER TABLE jars ALTER COLUMN x SET DEFAULT sticky();",
        "INSERT INTO jars VALUES (95, 1, 'fig');",
    ),
    "function in a constraint": (
        _SHOP
        + _write_function("sticky(text) RETURNS boolean", "true", "IMMUTABLE")
        + "CREATE DOMAIN label AS text CHECK (sticky(VALUE)); ALTER TABLE shops ADD COLUMN l label;",
        "INSERT INTO shops (name, l) VALUES ('x', 'y'); UPDATE jars SET note = 'x';",
    ),
    "function behind a column's name": (
        _SHOP + _write_function("sticky(jars) RETURNS text", "NULL"),
        "UPDATE jars SET note = jars.sticky;",
    ),
    "policy": (
        _SHOP
        + _write_function("sticky() RETURNS boolean", "true")
        + "CREATE POLICY p ON jars USING (sticky()); ALTER TABLE jars ENABLE ROW LEVEL SECURITY;"
        " ALTER TABLE jars FORCE ROW LEVEL SECURITY;",
        "UPDATE jars SET note = 'x'; INSERT INTO shops (name) SELECT note FROM jars;",
    ),
    "rule on a table of the plan": (
        _SHOP + "CREATE RULE r AS ON INSERT TO jars DO ALSO UPDATE customers SET mail = '';",
        "INSERT INTO jars VALUES (94, 1, 'fig');",
    ),
    "view of a table of the plan": (
        _SHOP + "CREATE VIEW v AS SELECT * FROM jars, LATERAL (SELECT count(*) FROM orders) AS o;",
        "INSERT INTO shops (name) SELECT note FROM v; CREATE VIEW w AS SELECT * FROM orders;"
        " INSERT INTO shops (name) SELECT note FROM w;",
    ),
    "deferred key": (
        _SHOP + "CREATE TABLE lids (id int PRIMARY KEY, jar bigint REFERENCES jars (id) INITIALLY DEFERRED);",
        "ALTER TABLE jars ADD COLUMN x int; INSERT INTO lids SELECT n, 1 FROM generate_series(1, 9) n;",
        "ALTER TABLE jars ADD COLUMN y int; ALTER TABLE customers ADD COLUMN y int;",
    ),
    "rows changed in a WITH clause, or returned": (
        _SHOP,
        "WITH gone AS (DELETE FROM orders RETURNING note) INSERT INTO shops (name) SELECT note FROM gone;",
        "UPDATE jars SET note = 'x' RETURNING id; DELETE FROM customers;",
    ),
    "rewritten and read in one plan": (
        _SHOP,
        "ALTER TABLE jars ADD COLUMN x int; UPDATE jars SET x = 1; ALTER TABLE jars ALTER COLUMN x TYPE bigint;"
        " TRUNCATE shops CASCADE;",
        "ALTER TABLE jars ALTER COLUMN note SET NOT NULL; CREATE INDEX ON shops (name);",
        "SELECT * FROM jars; ALTER TABLE jars ALTER COLUMN note SET STATISTICS 100;",
    ),
}


@pytest.mark.parametrize("trap", _TRAPS)
def test_a_trap_is_reported_as_if_all_locks_were_read(rehearse_both: Rehearsals, trap: str) -> None:
    report = rehearse_both(*_TRAPS[trap])

    outcomes = {migration.outcome for migration in report.migrations}
    assert outcomes <= {"rehearsed", "not_rehearsed"}, [migration.error for migration in report.migrations]


@pytest.mark.parametrize(
    "trap", ["trigger function", "function in DEFAULT", "function with a known name", "operator"]
)
def test_what_a_function_locks_belongs_to_the_statement_that_calls_it(
    rehearse_both: Rehearsals, trap: str
) -> None:
    report = rehearse_both(*_TRAPS[trap])

    (calling,) = [
        statement
        for statement in report.migrations[1].statements
        if modes(statement.locks).get("public.customers") == "ShareLock"
    ]
    assert any(word in calling.sql for word in ("INSERT", "sticky", "length", "<~>"))


def test_an_event_trigger_that_was_there_is_seen_at_the_first_statement(
    rehearse_both: Rehearsals, project: Project, database: psycopg.Connection[Any]
) -> None:
    project.write("1_file.sql", "SELECT 1;")
    project.run()
    database.execute(_EVENT_TRIGGER.encode())

    report = rehearse_both("SELECT 1;", "CREATE TABLE lids (id int); COMMENT ON TABLE lids IS 'of jars';")

    (migration,) = report.migrations
    assert [modes(statement.locks) for statement in migration.statements] == [
        {"public.customers": "ShareLock"},
        {},
    ]


def test_the_locks_of_a_python_migration_are_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its statements it may do anything on its connection."""
    project.write("1_shop.sql", _SHOP)
    project.write(
        "2_it.py",
        """
        from confiture.models.migration import Migration

        class It(Migration):
            def up(self):
                self.execute("CREATE TABLE lids (id int)")
                self.connection.execute("ALTER TABLE orders ADD COLUMN x int")
                self.execute("ALTER TABLE jars ADD COLUMN x int")
        """,
    )

    report = project.rehearse()

    assert modes(report.migrations[1].locks)["public.orders"] == "AccessExclusiveLock"


def test_an_error_in_a_proven_statement_is_shown_where_it_is(project: Project) -> None:
    """Its snapshot is in the same message, behind it."""
    project.write(
        "1_shop.sql",
        "CREATE TABLE jars (id int) -- of jam\n;\nCREATE TABLE lids (\n    id int,\n    x jam\n);\n",
    )

    (migration,) = project.rehearse().migrations

    assert [statement.sql for statement in migration.statements] == ["CREATE TABLE jars (id int)"]
    assert migration.error is not None
    assert (migration.error.sqlstate, migration.error.line, migration.error.column) == ("42704", 5, 7)


def test_a_migration_that_leaves_nothing_behind_ends_with_the_next_message(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs no round trip of its own, and what follows begins as after any other migration."""
    sent: list[str] = []

    def note(conn: psycopg.Connection[Any], message: str) -> list[list[tuple[Any, ...]]]:
        sent.append(message)
        return send(conn, message)

    monkeypatch.setattr(session, "send", note)
    monkeypatch.setattr(transactional, "send", note)
    project.write("1_shop.sql", "CREATE TABLE jars (id int); CREATE SEQUENCE numbers;")
    project.write("2_lids.sql", "CREATE TABLE lids (id int);")
    project.write("3_note.sql", "COMMENT ON TABLE lids IS 'of jars';")
    project.write("4_bad.sql", "SELECT nextval('numbers'); CREATE TABLE jars (id int);")

    report = project.rehearse()

    assert [migration.outcome for migration in report.migrations] == ["rehearsed"] * 3 + ["failed"]
    beginnings = [message.count("RELEASE") for message in sent if "set_config('lock_timeout'" in message]
    assert beginnings == [0, 0, 1, 1]
    assert sum("INSERT INTO confiture.ledger" in message for message in sent) == 1


@pytest.mark.parametrize("kind", ["python", "hooks"])
def test_a_migration_with_code_follows_one_that_leaves_nothing_behind(project: Project, kind: str) -> None:
    """Its savepoint is psycopg's, and must not be inside the one before."""
    hook = "before_ddl = [lambda context: context.connection.execute('SELECT 1')]" if kind == "hooks" else ""
    project.write("1_shop.sql", "CREATE TABLE jars (id int);")
    project.write(
        "2_it.py",
        f"""
        from confiture.models.migration import Migration

        class It(Migration):
            {hook}
            def up(self):
                self.execute("CREATE TABLE lids (id int)")
        """,
    )
    project.write("3_note.sql", "COMMENT ON TABLE lids IS 'of jars';")

    report = project.rehearse()

    assert [migration.outcome for migration in report.migrations] == ["rehearsed"] * 3
    assert report.exit_code == 0


def test_the_last_number_of_a_sequence_does_not_outlast_its_migration(project: Project) -> None:
    project.write(
        "1_shop.sql", "CREATE TABLE jars (id int); INSERT INTO jars VALUES (1); CREATE SEQUENCE numbers;"
    )
    project.write("2_lids.sql", "CREATE TABLE lids (id int);")
    project.write("3_row.sql", "ALTER TABLE jars ADD COLUMN n bigint DEFAULT nextval('numbers');")
    project.write("4_last.sql", "SELECT lastval();")

    report = project.rehearse()

    assert report.migrations[-1].error is not None
    assert report.migrations[-1].error.sqlstate == "55000"
