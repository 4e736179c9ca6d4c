"""An error is excused only where a run would not have it: a migration's own fault is a failure."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

KEYS = (
    "CREATE TABLE a (id int PRIMARY KEY)",
    "CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TYPE fruit AS ENUM ('fig')",
    "CREATE TYPE jam AS ENUM ('fig')",
    "CREATE TABLE bowl (fruit fruit)",
    "CREATE FUNCTION commit_in_function() RETURNS void LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
    "CREATE PROCEDURE boil() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
)
NO_TRANSACTION = "-- confiture: no-transaction\n"


def outcomes(report) -> list[str]:
    return [migration.outcome for migration in report.migrations]


@pytest.mark.parametrize(
    "text, sqlstate",
    [
        ("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); ALTER TABLE b ADD COLUMN n int;", "55006"),
        ("ALTER TYPE fruit ADD VALUE 'plum'; INSERT INTO bowl VALUES ('plum');", "55P04"),
        (NO_TRANSACTION + "DO $$ BEGIN EXECUTE 'VACUUM b'; END $$;", "25001"),
        (NO_TRANSACTION + "DO $$ BEGIN PERFORM commit_in_function(); END $$;", "2D000"),
        (NO_TRANSACTION + "SELECT commit_in_function();", "2D000"),
        (NO_TRANSACTION + "DO $$ BEGIN EXECUTE 'CALL boil()'; END $$;", "2D000"),
        (
            NO_TRANSACTION + "DO $$ BEGIN BEGIN COMMIT; EXCEPTION WHEN others THEN RAISE; END; END $$;",
            "2D000",
        ),
    ],
)
def test_what_a_run_refuses_fails_whatever_earlier_migrations_do(project, sql, text, sqlstate):
    """The earlier migration leaves events of its own, and adds the same value to another type."""
    sql(*KEYS)
    project.write("1_before.sql", "INSERT INTO a VALUES (2); INSERT INTO b VALUES (2);")
    project.write("2_before.sql", "ALTER TYPE jam ADD VALUE 'plum';")
    project.write("3_faulty.sql", text)

    rehearsal, run = project.rehearse(), project.run()

    assert (rehearsal.exit_code, run.exit_code) == (4, 4)
    for report in (rehearsal, run):
        assert report.migrations[2].error.sqlstate == sqlstate


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE b ADD COLUMN n int; ALTER TABLE a ADD COLUMN n int;",
        "TRUNCATE a, b;",
        "DROP TABLE b;",
    ],
)
def test_events_of_an_earlier_migration_are_no_longer_pending(project, sql, text):
    sql(*KEYS)
    project.write(
        "1_before.sql", "SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (2); INSERT INTO b VALUES (2);"
    )
    project.write("2_alter.sql", text)

    assert outcomes(project.rehearse()) == ["rehearsed", "rehearsed"]
    assert outcomes(project.run()) == ["applied", "applied"]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE c (n int REFERENCES a DEFERRABLE INITIALLY DEFERRED);"
        " INSERT INTO c VALUES (2); INSERT INTO a VALUES (2);",
        "CREATE TABLE c (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);"
        " INSERT INTO c VALUES (1), (1); DELETE FROM c;",
        "ALTER TABLE plain ALTER CONSTRAINT plain_n_fkey DEFERRABLE INITIALLY DEFERRED;"
        " INSERT INTO plain VALUES (2); INSERT INTO a VALUES (2);",
        "CREATE FUNCTION few() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF (SELECT count(*) FROM plain) < 2 THEN RAISE 'few'; END IF; RETURN NULL; END $$;"
        " CREATE CONSTRAINT TRIGGER few AFTER INSERT ON plain DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION few(); INSERT INTO plain VALUES (NULL); INSERT INTO plain VALUES (NULL);",
    ],
    ids=["foreign-key", "unique", "altered", "trigger"],
)
@pytest.mark.parametrize("before", ["SELECT 1;", NO_TRANSACTION + "INSERT INTO a VALUES (1);"])
def test_a_constraint_that_a_later_migration_defers_waits_for_its_end(project, sql, text, before):
    sql(*KEYS, "CREATE TABLE plain (n int REFERENCES a)")
    project.write("1_before.sql", before)
    project.write("2_late.sql", text)

    assert outcomes(project.rehearse()) == ["rehearsed", "rehearsed"]
    assert outcomes(project.run()) == ["applied", "applied"]


def test_a_role_without_rights_on_a_schema_of_deferred_constraints_rehearses_as_it_runs(project, sql):
    sql(
        *KEYS,
        "CREATE SCHEMA secret",
        "CREATE TABLE secret.c (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "CREATE SCHEMA open; GRANT ALL ON SCHEMA open TO pg_monitor",
    )
    project.write("1_it.sql", "SET ROLE pg_monitor; CREATE TABLE open.jam ();")

    assert outcomes(project.rehearse()) == ["rehearsed"]
    assert outcomes(project.run()) == ["applied"]


@pytest.mark.parametrize(
    "add",
    [
        "ALTER TYPE fruit ADD VALUE 'plum';",
        "DO $$ BEGIN EXECUTE format('ALTER TYPE fruit ADD VALUE %L', 'pl' || 'um'); END $$;",
        'CREATE SCHEMA "Odd"; ALTER TYPE fruit SET SCHEMA "Odd"; ALTER TYPE "Odd".fruit ADD VALUE \'plum\';',
    ],
)
def test_an_enum_value_of_an_earlier_migration_excuses_however_it_was_added(project, sql, add):
    sql(*KEYS)
    project.write("1_add.sql", add)
    project.write("2_use.sql", "ALTER TYPE jam ADD VALUE 'pear'; INSERT INTO bowl VALUES ('plum');")

    rehearsal = project.rehearse()

    assert outcomes(rehearsal) == ["rehearsed", "not_rehearsed"]
    assert rehearsal.exit_code == 0
    assert "committed" in rehearsal.migrations[1].reason
    assert outcomes(project.run()) == ["applied", "applied"]


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); ALTER TABLE b ADD COLUMN n int;",
        "SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); TRUNCATE a, b;",
    ],
)
def test_each_statement_of_a_no_transaction_migration_ends_its_own_events(project, sql, text):
    sql(*KEYS)
    project.write("1_it.sql", NO_TRANSACTION + text)

    assert outcomes(project.rehearse()) == ["rehearsed"]
    assert outcomes(project.run()) == ["applied"]


def test_a_deferred_violation_of_a_no_transaction_migration_fails_at_its_statement(project, sql):
    sql(*KEYS)
    project.write("1_it.sql", NO_TRANSACTION + "INSERT INTO b VALUES (7); INSERT INTO a VALUES (7);")

    rehearsal, run = project.rehearse(), project.run()

    assert (rehearsal.exit_code, run.exit_code) == (4, 4)
    assert rehearsal.migrations[0].error.sqlstate == run.migrations[0].error.sqlstate == "23503"


def test_a_no_transaction_migration_that_adds_and_uses_a_value_hides_no_later_one(project, sql):
    sql(*KEYS)
    project.write(
        "1_add.sql",
        NO_TRANSACTION + "ALTER TYPE fruit ADD VALUE 'plum';"
        "INSERT INTO bowl VALUES ('plum'); CREATE TABLE pie (fruit fruit DEFAULT 'plum', n serial);",
    )
    project.write("2_needs_table.sql", "ALTER TABLE pie ADD COLUMN size int;")
    project.write("3_needs_value.sql", "INSERT INTO bowl VALUES ('plum');")
    project.write("4_needs_sequence.sql", "ALTER SEQUENCE pie_n_seq RESTART;")
    project.write("5_needs_column.sql", "SELECT p.size FROM pie p;")
    project.write("6_other.sql", "CREATE TABLE other ();")

    answer = project("dry-run", "--in", "transaction", "--no-gate", "--output", "json")

    assert answer.code == 0, answer.out
    migrations = answer.json["migrations"]
    assert [migration["outcome"] for migration in migrations] == ["not_rehearsed"] * 5 + ["rehearsed"]
    assert "committed" in migrations[0]["reason"]
    assert all("could not be rehearsed" in migration["reason"] for migration in migrations[1:5])
    assert outcomes(project.run()) == ["applied"] * 6


def test_what_a_block_in_an_undone_migration_creates_excuses_the_next(project, sql):
    sql(*KEYS)
    project.write(
        "1_add.sql",
        NO_TRANSACTION + "ALTER TYPE fruit ADD VALUE 'plum'; INSERT INTO bowl VALUES ('plum');"
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %I ()', 'pie'); CREATE TABLE cake (n int); END $$;",
    )
    project.write("2_pie.sql", "ALTER TABLE pie ADD COLUMN size int;")
    project.write("3_cake.sql", "ALTER TABLE cake ADD COLUMN size int;")
    project.write("4_bread.sql", "ALTER TABLE bread ADD COLUMN size int;")

    report = project.rehearse()

    assert outcomes(report) == ["not_rehearsed", "not_rehearsed", "not_rehearsed", "failed"]


def test_a_statement_that_adds_and_uses_a_value_itself_fails(project, sql):
    sql(*KEYS)
    both = "ALTER TYPE fruit ADD VALUE 'plum'; INSERT INTO bowl VALUES ('plum');"
    project.write("1_it.sql", NO_TRANSACTION + f"DO $$ BEGIN {both} END $$;")

    rehearsal, run = project.rehearse(), project.run()

    assert (rehearsal.exit_code, run.exit_code) == (4, 4)
    assert rehearsal.migrations[0].error.sqlstate == run.migrations[0].error.sqlstate == "55P04"


def test_a_gate_with_limits_fails_for_what_was_not_rehearsed(project, sql):
    sql(*KEYS)
    project.configure('[gate]\nmax_block = "1s"\n')
    project.write("1_add.sql", "ALTER TYPE fruit ADD VALUE 'plum';")
    project.write("2_use.sql", "INSERT INTO bowl VALUES ('plum');")

    assert project("dry-run", "--in", "transaction").code == 1


_FILL = NO_TRANSACTION + "DO $$ BEGIN UPDATE {table} SET fruit = 'fig'; COMMIT; END $$;"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE bowl ALTER COLUMN fruit SET NOT NULL;",
        "ALTER TABLE bowl ADD CONSTRAINT filled CHECK (fruit IS NOT NULL);",
    ],
)
@pytest.mark.parametrize("table, code", [("bowl", 0), ("public.bowl", 0), ("cup", 4)])
def test_rows_that_a_backfill_could_not_fill_excuse_only_its_own_table(project, sql, change, table, code):
    """A COMMIT in a backfill is refused in a rehearsal, so the rows are as before."""
    sql(*KEYS, "CREATE TABLE cup (fruit fruit)", "INSERT INTO bowl VALUES (NULL)")
    project.write("1_fill.sql", _FILL.format(table=table))
    project.write("2_require.sql", change)

    rehearsal, run = project.rehearse(), project.run()

    assert (rehearsal.exit_code, run.exit_code) == (code, code)
    assert outcomes(rehearsal) == ["not_rehearsed", "failed" if code else "not_rehearsed"]
