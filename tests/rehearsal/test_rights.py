"""A rehearsal tries what a run needs, fails where a run would, and leaves nothing of it."""

from __future__ import annotations

import os

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.project import Project, only

ROLE = f"confiture_rights_{os.getpid()}"


@pytest.fixture
def limited(project, sql, database_url, maintenance):
    """The project, for a role that owns schema ``app`` and may not create schemas."""
    sql(f"CREATE ROLE {ROLE} LOGIN", f"CREATE SCHEMA app AUTHORIZATION {ROLE}")
    url = make_conninfo("", **{**conninfo_to_dict(database_url), "user": ROLE})
    try:
        yield Project(project.folder, url)
    finally:
        # From another database: here a setting may have taken the role.
        ((name,),) = sql("SELECT current_database()")
        maintenance.execute(f'ALTER DATABASE "{name}" RESET role')
        sql(
            f"DROP ROLE IF EXISTS {ROLE}_login",
            "DROP SCHEMA IF EXISTS confiture CASCADE",
            f"DROP OWNED BY {ROLE} CASCADE",
            f"DROP ROLE {ROLE}",
        )


def errors(project) -> tuple[str, str]:
    """Return the error of a rehearsal and of a run, which both end with 4."""
    answers = [project(*words) for words in (("dry-run", "--in", "transaction", "--no-gate"), ("run",))]
    assert [answer.code for answer in answers] == [4, 4], answers
    first, second = (
        next(line for line in (answer.err + answer.out).splitlines() if line.startswith("error: "))
        for answer in answers
    )
    return first, second


def test_no_right_to_create_the_schema(limited):
    limited.write("1_it.sql", "CREATE TABLE app.jam ();")

    rehearsal, run = errors(limited)

    assert rehearsal == run
    assert f"role '{ROLE}' may not create schema 'confiture'" in rehearsal


def test_a_ledger_that_may_only_be_read(limited, project, sql):
    project.write("1_it.sql", "SELECT 1;")
    project.run()
    sql(
        f"GRANT USAGE ON SCHEMA confiture TO {ROLE}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO {ROLE}",
    )
    limited.write("2_it.sql", "CREATE TABLE app.jam ();")

    rehearsal, run = errors(limited)

    assert rehearsal == run
    assert f"role '{ROLE}' may not write the ledger" in rehearsal


@pytest.mark.parametrize("of", ["ROLE", "DATABASE"])
def test_the_role_that_a_setting_takes_is_the_one_that_is_named(limited, project, sql, of):
    ((name,),) = sql("SELECT current_database()")
    if of == "ROLE":
        other = f"{ROLE}_login"
        sql(f"CREATE ROLE {other} SUPERUSER LOGIN", f"ALTER ROLE {other} SET role = {ROLE}")
        project = Project(project.folder, make_conninfo(project.url, user=other))
    else:
        sql(f'ALTER DATABASE "{name}" SET role = {ROLE}')
    project.write("1_it.sql", "CREATE TABLE app.jam ();")

    rehearsal, run = errors(project)

    assert rehearsal == run
    assert f"role '{ROLE}' may not create schema 'confiture'" in rehearsal


def test_an_event_trigger_that_refuses_the_schema(project, sql):
    sql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no schemas here'; END $$",
        "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA')"
        " EXECUTE FUNCTION refuse()",
    )
    project.write("1_it.sql", "CREATE TABLE jam ();")

    rehearsal, run = errors(project)

    assert rehearsal == run
    assert "no schemas here" in rehearsal


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "DROP SCHEMA confiture;",
        "DROP SCHEMA confiture CASCADE;",
        "DROP SCHEMA IF EXISTS confiture CASCADE;",
        "DROP TABLE confiture.ledger;",
        "ALTER SCHEMA confiture RENAME TO larder;",
        "ALTER TABLE confiture.ledger ADD CHECK (version <> '1') NOT VALID;",
    ],
)
def test_a_migration_that_takes_the_ledger_away(project, sql, text, known):
    if known:
        project.write("0_it.sql", "SELECT 1;")
        project.run()
    project.write("1_it.sql", text)

    rehearsal, run = errors(project)

    assert rehearsal == run


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE confiture.ledger ADD CHECK (version <> '3')",
        "ALTER TABLE confiture.ledger ADD team text DEFAULT NULL CHECK (version <> '3')",
        "CREATE UNIQUE INDEX ON confiture.ledger ((1 / (version::int - 3)))",
        "ALTER TABLE confiture.ledger ADD team text; UPDATE confiture.ledger SET team = 'jam';"
        " ALTER TABLE confiture.ledger ALTER team SET NOT NULL",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF new.version = '3' THEN RAISE 'no third'; END IF; RETURN new; END $$;"
        " CREATE TRIGGER refuse BEFORE INSERT ON confiture.ledger FOR EACH ROW EXECUTE FUNCTION refuse()",
        f"ALTER TABLE confiture.ledger ENABLE ROW LEVEL SECURITY; GRANT ALL ON SCHEMA confiture TO {ROLE};"
        f" GRANT ALL ON ALL TABLES IN SCHEMA confiture TO {ROLE};"
        " CREATE POLICY not_the_third ON confiture.ledger WITH CHECK (version <> '3')",
    ],
    ids=["check", "column", "index", "not-null", "trigger", "policy"],
)
def test_a_ledger_that_others_have_changed(limited, project, sql, change):
    """Its row is tried even after a migration that leaves nothing else for its end."""
    project.write("1_it.sql", "SELECT 1;")
    project.run()
    sql(change)
    tried = limited if "POLICY" in change else project
    for version in ("2", "3"):
        tried.write(f"{version}_it.sql", f"CREATE TABLE app.jam{version} (n int);")

    rehearsal, run = errors(tried)

    assert rehearsal == run
    assert "1 /" in change or "confiture.ledger refused what confiture records there: " in run


def test_nothing_of_it_is_left_or_seen(project, sql):
    """Not in the locks, the rewrites and the scans, nor as residue, with a ledger and without one."""
    for version in ("1", "2"):
        project.write(
            f"{version}_it.sql", f"CREATE TABLE jam{version} (n int); INSERT INTO jam{version} VALUES (1);"
        )
        report = project.rehearse()
        migration = report.migrations[-1]

        assert (migration.outcome, migration.locks, migration.not_seen) == ("rehearsed", (), ())
        assert report.residue == ()
        assert sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'confiture'") == [(int(version) - 1,)]
        project.run()

    assert sql("SELECT version FROM confiture.ledger ORDER BY 1") == [("1",), ("2",)]


def test_a_role_that_owns_the_ledger_needs_no_other_right(limited, sql):
    sql(f"CREATE SCHEMA confiture AUTHORIZATION {ROLE}")
    limited.write("1_it.sql", "CREATE TABLE app.jam ();")

    assert only(limited.rehearse()).outcome == "rehearsed"
    assert only(limited.run()).outcome == "applied"


def test_a_migration_that_gives_up_the_role_that_may_write_the_ledger(limited, project, sql):
    """SET role ends with the migration; its ledger row is written with the session's own."""
    project.write("1_it.sql", f"SET ROLE {ROLE}; CREATE TABLE app.jam ();")

    assert only(project.rehearse()).outcome == "rehearsed"
    assert only(project.run()).outcome == "applied"


AUDIT = """
    CREATE TABLE audit (tag text);
    CREATE FUNCTION record() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN LOCK TABLE audit; INSERT INTO audit VALUES (tg_tag); END $$;
    CREATE EVENT TRIGGER record ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA', 'CREATE TABLE')
        EXECUTE FUNCTION record();
"""


@pytest.mark.parametrize("known", [True, False])
def test_what_an_event_trigger_locks_for_the_ledger_is_reported_for_the_migration(project, sql, known):
    """A run creates the ledger in an earlier transaction, so the migration takes the lock itself."""
    if known:
        project.write("0_it.sql", "SELECT 1;")
        project.run()
    sql(AUDIT)
    project.write("1_it.sql", "SELECT 1;")
    project.write("2_it.sql", "CREATE TABLE jam (n int);")

    first, second = project.rehearse().migrations

    assert first.locks == ()
    (lock,) = second.locks
    assert (lock.relation, lock.mode, lock.seen) == ("public.audit", "AccessExclusiveLock", "measured")
    assert sql("SELECT count(*) FROM audit") == [(0,)]
    applied = project.run().migrations
    assert [[lock.relation for lock in migration.locks] for migration in applied] == [[], ["public.audit"]]


def test_a_ledger_that_others_have_changed_and_commands_that_write_only_it(project, sql):
    project.write("1_it.sql", "SELECT 1;")
    project.run()
    project.write("2_it.sql", "SELECT 1;")
    sql("ALTER TABLE confiture.ledger ADD CHECK (version <> '2')")

    answer = project("baseline", "2")

    assert answer.code == 4
    assert "error: confiture.ledger refused what confiture records there: new row" in answer.err
    assert r"in psql with \d confiture.ledger" in answer.err
