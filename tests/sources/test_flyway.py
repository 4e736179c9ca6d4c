"""Flyway's folder and ledger are taken over as they are."""

from __future__ import annotations

import pytest

from confiture.sources.flyway_script import compute_checksum
from tests.project import applied, exists, tables

pytestmark = pytest.mark.slow

# The table as Flyway creates it in PostgreSQL.
HISTORY = """
    CREATE TABLE flyway_schema_history (
        installed_rank INT NOT NULL, version VARCHAR(50), description VARCHAR(200) NOT NULL,
        type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER,
        installed_by VARCHAR(100) NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT now(),
        execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL
    );
    ALTER TABLE flyway_schema_history ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
    CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success);
"""
ORDERS = "CREATE TABLE orders (id int);\n"
VIEW = "CREATE OR REPLACE VIEW order_ids AS SELECT id FROM orders;\n"


@pytest.fixture
def history(database):
    """A function that adds a row to Flyway's ledger, which is empty."""
    database.execute(HISTORY)

    def add(version, script, text=None, *, kind="SQL", success=True, description=None):
        database.execute(
            "INSERT INTO flyway_schema_history SELECT coalesce(max(installed_rank), 0) + 1,"
            " %s, %s, %s, %s, %s, 'app', '2026-01-01 12:00', 7, %s FROM flyway_schema_history",
            (
                version,
                description if description is not None else script.partition("__")[2][:-4].replace("_", " "),
                kind,
                script,
                None if text is None else compute_checksum(text),
                success,
            ),
        )

    return add


@pytest.fixture
def adopted(project, database, history):
    """A project whose first migration Flyway has applied."""
    project.write("V1__orders.sql", ORDERS)
    project.write("V1.1__amount.sql", "ALTER TABLE orders ADD amount int;\n")
    project.write("U1.1__amount.sql", "ALTER TABLE orders DROP amount;\n")
    project.write("R__order_ids.sql", VIEW)
    database.execute(ORDERS)
    history("1", "V1__orders.sql", ORDERS)
    return project


def rows(database):
    """Return what Flyway's ledger says, without times."""
    return database.execute(
        "SELECT installed_rank, version, description, type, script, checksum, success"
        " FROM flyway_schema_history ORDER BY 1"
    ).fetchall()


def order(project, *names):
    """Return the versions of these files, in the order in which they would run."""
    for name in names:
        project.write(name, "SELECT 1;\n")
    planned = project("status", "--output", "json", CONFITURE_DATABASE_URL=project.url)
    assert planned.code == 0, planned.err
    return [migration["version"] for migration in planned.json["migrations"]]


def test_adopt_records_what_flyway_applied_and_run_goes_on(adopted, database):
    answer = adopted("adopt")

    assert answer.code == 0, answer.err
    assert (
        "migrations of Flyway, as R__order_ids.sql shows; ledger public.flyway_schema_history" in answer.out
    )
    assert adopted("run").code == 0
    assert applied(database) == ["1", "1.1", "R__order_ids"]
    assert adopted("verify").code == 0
    assert adopted("redo").code == 0
    assert exists(database, "order_ids")


def test_the_time_that_flyway_recorded_is_kept(adopted, database):
    adopted("adopt")

    ((moment,),) = database.execute("SELECT applied_at::timestamp::text FROM confiture.ledger").fetchall()
    assert moment == "2026-01-01 12:00:00"


def test_with_mirror_the_rows_are_those_that_flyway_writes(adopted, database):
    adopted("adopt", "--mirror")
    adopted("run")
    down = adopted("down")

    assert down.code == 0, down.err
    amount = "ALTER TABLE orders ADD amount int;\n"
    assert rows(database)[1:] == [
        (2, "1.1", "amount", "SQL", "V1.1__amount.sql", compute_checksum(amount), True),
        (3, None, "order ids", "SQL", "R__order_ids.sql", compute_checksum(VIEW), True),
        (
            4,
            "1.1",
            "amount",
            "UNDO_SQL",
            "U1.1__amount.sql",
            compute_checksum("ALTER TABLE orders DROP amount;\n"),
            True,
        ),
    ]


def test_what_was_undone_or_deleted_is_pending_again(adopted, history):
    adopted.write("V2__gone.sql", "SELECT 2;\n")
    history("1.1", "V1.1__amount.sql", "ALTER TABLE orders ADD amount int;\n")
    history("1.1", "U1.1__amount.sql", kind="UNDO_SQL")
    history("2", "V2__gone.sql", "SELECT 2;\n")
    history("2", "V2__gone.sql", kind="DELETE")

    answer = adopted("adopt", "--dry-run", "--output", "json")

    outcomes = {step["version"]: step["outcome"] for step in answer.json["migrations"]}
    assert outcomes == {"1": "would-record", "1.1": "pending", "2": "pending", "R__order_ids": "pending"}


def test_a_baseline_covers_all_versions_up_to_it(adopted, database, history):
    database.execute("TRUNCATE flyway_schema_history")
    history(None, "orders", kind="SCHEMA", description="<< Flyway Schema Creation >>")
    history("1.0", "<< Flyway Baseline >>", kind="BASELINE", description="<< Flyway Baseline >>")

    answer = adopted("adopt", "--output", "json")

    assert [step["outcome"] for step in answer.json["migrations"]] == ["recorded", "pending", "pending"]


def test_a_failed_row_is_refused(adopted, database, history):
    history("1.1", "V1.1__amount.sql", success=False)

    answer = adopted("adopt")

    assert answer.code == 7
    assert "V1.1__amount.sql failed: put right what it left behind, then: flyway repair" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_a_changed_file_is_refused(adopted):
    adopted.write("V1__orders.sql", "CREATE TABLE orders (id bigint);\n")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "changed since it was applied: 1 orders" in answer.err


@pytest.mark.parametrize("text", ["a\nb\n", "a\r\nb", "a\rb\n\n"])
def test_the_checksum_ignores_the_ends_of_lines(text):
    # 0x9E83486D is the CRC-32 of "ab".
    assert compute_checksum(text) == 0x9E83486D - 2**32


def test_the_checksum_of_an_empty_file_is_zero():
    assert compute_checksum("") == 0


def test_a_repeatable_migration_runs_again_when_its_file_changes(adopted, database):
    adopted("adopt", "--mirror")
    adopted("run")
    adopted.write("R__order_ids.sql", "CREATE OR REPLACE VIEW order_ids AS SELECT id, amount FROM orders;\n")

    before = adopted("status")
    again = adopted("run", "--output", "json")

    assert "pending  R__order_ids" in before.out
    assert "not read" not in before.err
    assert [migration["version"] for migration in again.json["migrations"]] == ["R__order_ids"]
    assert [row[4] for row in rows(database)] == [
        "V1__orders.sql",
        "V1.1__amount.sql",
        "R__order_ids.sql",
        "R__order_ids.sql",
    ]
    assert adopted("run").code == 0
    assert len(rows(database)) == 4


def test_a_repeatable_migration_that_changed_since_flyway_ran_it_is_pending(adopted, history):
    history(None, "R__order_ids.sql", "CREATE VIEW order_ids AS SELECT 1;\n")

    answer = adopted("adopt", "--output", "json")

    assert [step["outcome"] for step in answer.json["migrations"]] == ["recorded", "pending", "pending"]


def test_a_repeatable_migration_runs_again_when_a_placeholder_changes(project, database):
    project.write("V1__orders.sql", ORDERS)
    project.write("R__v.sql", "CREATE OR REPLACE VIEW v AS SELECT ${factor} AS factor;\n")
    project.configure('source = "flyway"\n[variables]\nfactor = "2"\n')
    project("run")
    project.configure('source = "flyway"\n[variables]\nfactor = "3"\n')

    assert project("run").code == 0
    assert database.execute("SELECT factor FROM v").fetchone() == (3,)


def test_versions_compare_number_by_number_and_repeatable_ones_come_last(project):
    project.configure('source = "flyway"\n')

    found = order(
        project,
        "V10__a.sql",
        "V2__b.sql",
        "V2_1__c.sql",
        "V2.0.1__d.sql",
        "V20260101__e.sql",
        "R__b.sql",
        "R__a.sql",
    )

    assert found == ["2", "2.0.1", "2.1", "10", "20260101", "R__a", "R__b"]


def test_subfolders_are_read_and_other_files_are_not(project):
    (project.migrations / "2026" / "q1").mkdir(parents=True)
    project.configure('source = "flyway"\n')

    found = order(project, "V1__a.sql", "2026/q1/V2__b.sql", "notes.sql", "v3__c.sql", "V4__d.txt", "R.sql")

    assert found == ["1", "2"]


def test_two_files_of_one_version_are_refused(project):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", "")
    project.write("V1.0__b.sql", "")

    answer = project("status")

    assert answer.code == 4
    assert "version 1.0 is used 2 times: V1.0__b.sql and V1__a.sql" in answer.err


@pytest.mark.parametrize("name", ["V2__Fill.java", "V2__fill.sh", "R__grants.py"])
def test_a_migration_that_is_not_sql_is_refused_by_name(project, name):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", "")
    project.write(name, "")

    answer = project("status")

    assert answer.code == 4
    assert f"{name} is not SQL: confiture runs only the SQL migrations of Flyway" in answer.err


def test_a_callback_is_refused_because_it_would_not_run(project):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", "")
    project.write("afterMigrate__grants.sql", "")

    answer = project("status")

    assert answer.code == 4
    assert "afterMigrate__grants.sql is a callback of Flyway, which confiture does not run" in answer.err


def test_placeholders_take_their_values_from_the_configuration(project, database):
    project.configure('source = "flyway"\n[variables]\nTable = "orders"\n"flyway:defaultSchema" = "public"\n')
    project.write(
        "V1__a.sql",
        "CREATE TABLE ${flyway:defaultSchema}.${table} (made text DEFAULT '${flyway:filename} ${flyway:table}',"
        " at timestamp DEFAULT '${flyway:timestamp}');\nINSERT INTO ${TABLE} DEFAULT VALUES;\n",
    )

    assert project("run").code == 0
    assert database.execute("SELECT made FROM orders").fetchone() == ("V1__a.sql flyway_schema_history",)


def test_a_placeholder_without_a_value_is_an_error_with_its_line(project):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", "SELECT 1;\nSELECT ${flyway:defaultSchema};\n")

    answer = project("run")

    assert answer.code == 4
    assert "V1__a.sql:2:8: ${flyway:defaultSchema} has no value" in answer.err
    assert '"flyway:defaultSchema" = "…"' in answer.err


def test_placeholders_stay_where_the_settings_of_the_script_say_so(project, database):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", "CREATE TABLE t (a text DEFAULT '${kept}'); INSERT INTO t DEFAULT VALUES;\n")
    project.write("V1__a.sql.conf", "# as it is\nplaceholderReplacement=false\n")

    assert project("run").code == 0
    assert database.execute("SELECT a FROM t").fetchone() == ("${kept}",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mixed=true", "'mixed' is no setting of a script"),
        ("encoding=ISO-8859-1", "confiture reads UTF-8, not ISO-8859-1"),
        ("shouldExecute=${env}==prod", "shouldExecute decides when the script runs"),
    ],
)
def test_settings_of_a_script_that_cannot_be_followed_are_refused(project, line, message):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", "SELECT 1;\n")
    project.write("V1__a.sql.conf", f"\n{line}\n")

    answer = project("run")

    assert answer.code == 4
    assert f"V1__a.sql.conf:2: {message}" in answer.err


def test_a_script_whose_statements_all_need_it_runs_outside_a_transaction(project, database):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", ORDERS)
    project.write(
        "V2__b.sql",
        "CREATE INDEX CONCURRENTLY a ON orders (id);\nCREATE INDEX CONCURRENTLY b ON orders (id);\n",
    )

    assert project("run").code == 0
    assert exists(database, "a")
    assert exists(database, "b")


def test_a_script_that_mixes_both_kinds_of_statements_is_refused(project):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", f"{ORDERS}CREATE INDEX CONCURRENTLY a ON orders (id);\n")

    answer = project("run")

    assert answer.code == 4
    assert "V1__a.sql:2:1: CREATE INDEX CONCURRENTLY cannot run inside a transaction, but other" in answer.err


def test_a_script_that_mixes_them_runs_where_its_settings_say_so(project, database):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", f"{ORDERS}CREATE INDEX CONCURRENTLY a ON orders (id);\n")
    project.write("V1__a.sql.conf", "executeInTransaction=false\n")

    assert project("run").code == 0
    assert exists(database, "a")


def test_a_migration_without_its_undo_migration_is_not_undone(project):
    project.configure('source = "flyway"\n')
    project.write("V1__a.sql", ORDERS)
    project("run")

    answer = project("down")

    assert answer.code == 4
    assert "migration 1 a has no undo migration" in answer.err
    assert "write U1__a.sql beside it" in answer.err


def test_empty_files_are_migrations_that_do_nothing(project, database):
    project.configure('source = "flyway"\n')
    for name in ("V1__a.sql", "U1__a.sql", "R__b.sql"):
        project.write(name, "")

    assert project("run").code == 0
    assert project("down").code == 0
    assert applied(database) == ["R__b"]


def test_a_baseline_migration_begins_where_the_older_files_are_gone(project, database, history):
    project.write("B5__all.sql", ORDERS)
    project.write("V6__amount.sql", "ALTER TABLE orders ADD amount int;\n")
    history("4", "V4__old.sql", "x")
    history("5", "V5__old.sql", "x")

    answer = project("adopt", "--output", "json")

    steps = [(step["version"], step["outcome"]) for step in answer.json["migrations"]]
    assert steps == [("5", "recorded"), ("6", "pending")]


def test_a_baseline_migration_makes_a_new_database(project, database):
    project.configure('source = "flyway"\n')
    project.write("B5__all.sql", ORDERS)
    project.write("V6__amount.sql", "ALTER TABLE orders ADD amount int;\n")

    assert project("run").code == 0
    assert applied(database) == ["5", "6"]


def test_a_baseline_migration_is_not_used_while_the_older_files_are_there(project, database):
    project.configure('source = "flyway"\n')
    project.write("V4__a.sql", ORDERS)
    project.write("V5__b.sql", "")
    project.write("B5__all.sql", ORDERS)

    assert project("run").code == 0
    assert applied(database) == ["4", "5"]
