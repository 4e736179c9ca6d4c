"""Liquibase's changelogs and ledger are taken over as they are."""

from __future__ import annotations

import os
import subprocess

import pytest
from psycopg.conninfo import conninfo_to_dict

from confiture.sources.liquibase_changeset import compute_checksum
from tests.project import Project, applied, exists, tables
from tests.tools import find_node_packages, find_tool
from tests.tools.tcp_door import open_tcp_door

pytestmark = pytest.mark.slow

# The tables as Liquibase creates them in PostgreSQL.
LEDGER = """
    CREATE TABLE databasechangelog (
        id varchar(255) NOT NULL, author varchar(255) NOT NULL, filename varchar(255) NOT NULL,
        dateexecuted timestamp NOT NULL, orderexecuted int NOT NULL, exectype varchar(10) NOT NULL,
        md5sum varchar(35), description varchar(255), comments varchar(255), tag varchar(255),
        liquibase varchar(20), contexts varchar(255), labels varchar(255), deployment_id varchar(10)
    );
    CREATE TABLE databasechangeloglock (
        id int PRIMARY KEY, locked boolean NOT NULL, lockgranted timestamp, lockedby varchar(255)
    );
    INSERT INTO databasechangeloglock VALUES (1, false, NULL, NULL);
"""
HEAD = "--liquibase formatted sql\n\n"
ORDERS = "CREATE TABLE orders (id int);"
SHOP = """\
--liquibase formatted sql
--property name:table value:orders

--changeset anna:1
--comment: the orders
-- A remark.
CREATE TABLE ${table} (id int); -- one
INSERT INTO orders VALUES (1);
--rollback DROP TABLE ${table};

--changeset "anna b":"index of id" runInTransaction:false
CREATE INDEX CONCURRENTLY orders_id ON orders (id);
--rollback DROP INDEX orders_id;

--changeset bob:3 runOnChange:true labels:"views,all"
CREATE OR REPLACE VIEW order_ids AS SELECT id FROM orders;
--rollback DROP VIEW order_ids;

--changeset bob:4 endDelimiter:// context:"prod or test"
CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$
//
CREATE FUNCTION two() RETURNS int LANGUAGE sql AS 'SELECT 2'
//
/* liquibase rollback
DROP FUNCTION one();
DROP FUNCTION two();
*/

--changeset bob:5 dbms:oracle,mysql
CREATE TABLE nowhere (x number);
"""
NOTES = HEAD + "--changeset carl:1\nCREATE TABLE notes (body text);\n--rollback DROP TABLE notes;\n"
MASTER = """\
<?xml version="1.0" encoding="UTF-8"?>
<databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="http://www.liquibase.org/xml/ns/dbchangelog
        http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd">
  <include file="shop.sql" relativeToChangelogFile="true"/>
  <includeAll path="later" relativeToChangelogFile="true"/>
</databaseChangeLog>
"""
EVERYTHING = """\

-- LIQUIBASE  formatted   sql
-- before any changeset

-- changeset a.b@c:one-1   contextFilter:"x or test"  labels:l2,l1
-- comment with a colon: yes
CREATE TABLE ${TBL} (id int, "a;b" text DEFAULT 'x;y');
--    rollback DROP TABLE ${tbl};
  --changeset a b:2 splitStatements:false stripComments:false
CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  -- remark
  RETURN 1; -- ${unknown}
END $$;
--rollback DROP FUNCTION f();
--changeset d:3 endDelimiter:@@
CREATE TABLE u (a text DEFAULT '@@') @@ CREATE TABLE w (b text)
@@
--rollback not required
--changeset d:4 dbms:!oracle,!h2
--validCheckSum 8:abc
CREATE TABLE ${other} (i int);
GO
CREATE TABLE x2 (i int);
--changeset d:5 runOnChange:true
CREATE OR REPLACE VIEW things_seen AS SELECT id FROM things;
"""
EVERYTHING_ROOT = """\
databaseChangeLog:
  - property:
      name: tbl
      value: things
  - property: {name: other, value: "stuff", dbms: postgresql}
  - include:
      file: everything.sql
      relativeToChangelogFile: true
      contextFilter: test
      labels: outer
  - includeAll:
      path: inc/
      relativeToChangelogFile: true
      endsWithFilter: .sql
"""
CONFIG = 'source = "liquibase"\n[variables]\n"liquibase.contexts" = "test"\n"liquibase.labelFilter" = "*"\n'


@pytest.fixture
def shop(project):
    """A project of Liquibase's."""
    project.configure(CONFIG)
    (project.migrations / "later").mkdir(parents=True)
    for name, text in {
        "master.xml": MASTER,
        "shop.sql": SHOP,
        "later/notes.sql": NOTES,
        "later/raw.sql": "CREATE TABLE raw (id int);\n",
    }.items():
        project.write(name, text.encode())
    return project


@pytest.fixture
def chosen(project):
    """A project whose configuration names the convention."""
    project.configure('source = "liquibase"\n')
    return project


@pytest.fixture
def history(database):
    """A function that adds a row to Liquibase's ledger, which is empty."""
    database.execute(LEDGER)

    def add(identifier, author, filename, sql=None, *, md5sum=None, kind="EXECUTED"):
        database.execute(
            "INSERT INTO databasechangelog SELECT %s, %s, %s, '2026-01-01 12:00', count(*) + 1, %s, %s, 'sql',"
            " '', NULL, '4.28.0', NULL, NULL, '1234567890' FROM databasechangelog",
            (identifier, author, filename, kind, md5sum or (compute_checksum(sql) if sql else None)),
        )

    return add


def call_liquibase(url: str, project: Project, *arguments: str, changelog: str = "master.xml") -> str:
    """Run the real Liquibase on a database, and return what it wrote."""
    find_tool("java")
    script = find_node_packages() / "liquibase" / "dist" / "liquibase" / "liquibase"
    if not script.exists():
        pytest.skip("liquibase is not installed: make .venv/.tools")
    with open_tcp_door(url) as (host, port):
        done = subprocess.run(
            [
                "bash",
                str(script),
                f"--search-path={project.folder}",
                f"--changelog-file=migrations/{changelog}",
                f"--url=jdbc:postgresql://{host}:{port}/{conninfo_to_dict(url)['dbname']}",
                f"--username={conninfo_to_dict(url)['user']}",
                "--password=unused",
                "--contexts=test",
                *arguments,
            ],
            capture_output=True,
            text=True,
            cwd=project.folder,
            env={**os.environ, "JAVA_OPTS": "-Xshare:auto -XX:TieredStopAtLevel=1"},
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def list_rows(conn):
    """Return what Liquibase's ledger has, without times."""
    return conn.execute(
        "SELECT id, author, filename, orderexecuted, exectype, md5sum, description, comments, tag, liquibase,"
        " contexts, labels FROM databasechangelog ORDER BY orderexecuted"
    ).fetchall()


def dump(project):
    """Return the schema of the project's database, without confiture's own."""
    answer = project("dump", "dumped.sql")
    assert answer.code == 0, answer.err
    return (project.folder / "dumped.sql").read_text()


def read_outcomes(answer):
    """Return what ``adopt`` says of each changeset."""
    assert answer.code == 0, answer.err
    return {step["version"]: step["outcome"] for step in answer.json["migrations"]}


def list_versions(project):
    """Return the versions in their order."""
    answer = project("status", "--output", "json")
    assert answer.code == 0, answer.err
    return [migration["version"] for migration in answer.json["migrations"]]


def test_half_with_liquibase_and_half_with_confiture_make_what_liquibase_makes(shop, database, alone):
    call_liquibase(shop.url, shop, "update-count", "--count=2")

    adopted = shop("adopt", "--mirror")
    ran = shop("run")
    call_liquibase(alone, shop, "update")
    twin = Project(shop.folder, alone)

    assert adopted.code == 0, adopted.err
    assert ran.code == 0, ran.err
    assert dump(shop) == dump(twin)
    with database.__class__.connect(alone) as conn:
        assert list_rows(database) == list_rows(conn)
    assert "Database is up to date" in call_liquibase(shop.url, shop, "update")


def test_with_mirror_the_rows_are_those_of_liquibase_whatever_a_changeset_says(project, database, alone):
    project.configure(CONFIG)
    (project.migrations / "inc" / "Sub").mkdir(parents=True)
    view = HEAD + "--changeset x:1\nCREATE VIEW {} AS SELECT id FROM things;\n"
    for name, text in {
        "root.yaml": EVERYTHING_ROOT,
        "everything.sql": EVERYTHING,
        "inc/Sub/x.sql": view.format("one"),
        "inc/abc.sql": view.format("two"),
        "inc/Zed.sql": view.format("three"),
        "inc/raw.sql": "INSERT INTO things VALUES (1, '${tbl}');\n",
    }.items():
        project.write(name, text.encode())
    call_liquibase(project.url, project, "update-count", "--count=1", changelog="root.yaml")
    project("adopt", "--mirror")

    ran = project("run")
    call_liquibase(alone, project, "update", changelog="root.yaml")
    changed = EVERYTHING.replace("AS SELECT id", "AS SELECT id, 2 AS two")
    project.write("everything.sql", changed.encode())
    again = project("run")
    call_liquibase(alone, project, "update", changelog="root.yaml")

    assert ran.code == 0, ran.err
    assert again.code == 0, again.err
    with database.__class__.connect(alone) as conn:
        assert list_rows(database) == list_rows(conn)


def test_with_mirror_each_tool_undoes_what_the_other_applied(shop, database):
    (shop.migrations / "later" / "raw.sql").unlink()
    call_liquibase(shop.url, shop, "update-count", "--count=4")
    shop("adopt", "--mirror")
    shop("run")

    down = shop("down", "--steps", "2")
    without_ours = [(row[0], row[1]) for row in list_rows(database)]
    shop("run")
    call_liquibase(shop.url, shop, "rollback-count", "--count=4")

    assert down.code == 0, down.err
    assert without_ours == [("1", "anna"), ("index of id", "anna b"), ("3", "bob")]
    assert [row[0] for row in list_rows(database)] == ["1"]
    assert not exists(database, "notes")
    assert not exists(database, "orders_id")


def test_adopt_recognizes_liquibase_and_goes_on(shop, database, history):
    history("1", "anna", "migrations/shop.sql", md5sum="9:2d8dd49b4ee0ba05b8b9ed6a5f0cf9b3", kind="MARK_RAN")
    database.execute("UPDATE databasechangelog SET md5sum = NULL")
    database.execute(ORDERS)
    shop.configure(CONFIG.replace('source = "liquibase"\n', ""))

    answer = shop("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of Liquibase, as later/notes.sql shows; ledger public.databasechangelog" in answer.out
    assert shop("run").code == 0
    assert exists(database, "order_ids")
    assert exists(database, "raw")


def test_down_undoes_in_reverse_order(shop, database):
    (shop.migrations / "later" / "raw.sql").unlink()

    ran = shop("run")
    down = shop("down", "--steps", "2")

    assert ran.code == 0, ran.err
    assert down.code == 0, down.err
    assert database.execute("SELECT count(*) FROM pg_proc WHERE proname IN ('one', 'two')").fetchone() == (0,)
    assert not exists(database, "notes")


YAML = """\
databaseChangeLog:
  # The order counts.
  - include:
      file: b.sql
      relativeToChangelogFile: true
  - includeAll: { path: more, relativeToChangelogFile: "true" }
"""
YAML_AT_THE_MARGIN = """\
---
databaseChangeLog:
- include:
    relativeToChangelogFile: true
    file: 'b.sql'
- includeAll:
    path: more
    relativeToChangelogFile: true
"""
JSON = """\
{"databaseChangeLog": [
    {"include": {"file": "b.sql", "relativeToChangelogFile": true}},
    {"includeAll": {"path": "more", "relativeToChangelogFile": true}}
]}
"""
XML = MASTER.replace("shop.sql", "b.sql").replace('"later"', '"more"')
FROM_THE_TOP = """\
databaseChangeLog:
  - include:
      file: migrations/b.sql
  - includeAll:
      path: classpath:migrations/more/
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("root.yaml", YAML),
        ("root.yml", YAML_AT_THE_MARGIN),
        ("root.json", JSON),
        ("root.xml", XML),
        ("root.yaml", FROM_THE_TOP),
    ],
)
def test_the_order_is_that_of_the_root_changelog(chosen, name, text):
    (chosen.migrations / "more" / "deep").mkdir(parents=True)
    chosen.write(name, text.encode())
    for path in ("a.sql", "b.sql", "more/z9.sql", "more/z10.sql", "more/deep/c.sql"):
        chosen.write(path, f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())

    assert list_versions(chosen) == [
        "b.sql::1::x",
        "more/deep/c.sql::1::x",
        "more/z10.sql::1::x",
        "more/z9.sql::1::x",
    ]


def test_without_a_root_changelog_the_files_of_formatted_sql_are_read_by_name(chosen):
    chosen.write("b.sql", f"{HEAD}--changeset x:2\nSELECT 1;\n--changeset x:1\nSELECT 1;\n".encode())
    chosen.write("a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())
    chosen.write("notes.sql", b"SELECT 'not formatted';\n")

    assert list_versions(chosen) == ["a.sql::1::x", "b.sql::2::x", "b.sql::1::x"]


def test_the_root_changelog_can_be_named(chosen):
    (chosen.migrations / "more").mkdir(parents=True)
    chosen.write("one.yaml", YAML.encode())
    chosen.write(
        "two.yaml", b"databaseChangeLog:\n  - include: {file: b.sql, relativeToChangelogFile: true}\n"
    )
    chosen.write("b.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())

    several = chosen("status")
    named = chosen("status", "--migrations", "migrations/two.yaml", "--output", "json")

    assert several.code == 2
    assert "migrations has several changelogs: one.yaml and two.yaml" in several.err
    assert "--migrations migrations/one.yaml" in several.err
    assert [migration["version"] for migration in named.json["migrations"]] == ["b.sql::1::x"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "databaseChangeLog:\n  - include:\n      file: no.sql\n",
            2,
            "root.yaml includes no.sql, which does not",
        ),
        (
            "databaseChangeLog:\n  - preConditions:\n      dbms: x\n",
            2,
            "confiture does not follow preConditions",
        ),
        (
            "databaseChangeLog:\n  - includeAll:\n      path: .\n      filter: a.B\n",
            2,
            "filter of includeAll is",
        ),
        ("databaseChangeLog: &x\n  wrong\n", 2, "confiture does not understand this line"),
    ],
)
def test_a_changelog_that_cannot_be_followed_is_refused_with_its_line(chosen, text, line, message):
    chosen.write("root.yaml", text.encode())

    answer = chosen("status")

    assert answer.code == 4
    assert f"root.yaml:{line}: {message}" in answer.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "root.xml",
            XML.replace(
                "<include ", '<preConditions onFail="HALT"><dbms type="postgresql"/></preConditions><include '
            ),
        ),
        (
            "root.yaml",
            YAML.replace("  # The", "  - preConditions:\n      - dbms:\n          type: postgresql\n  # The"),
        ),
    ],
)
def test_a_changelog_may_ask_for_postgresql(chosen, name, text):
    (chosen.migrations / "more").mkdir(parents=True)
    chosen.write(name, text.encode())
    chosen.write("b.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())
    chosen.write("more/a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())

    assert list_versions(chosen) == ["b.sql::1::x", "more/a.sql::1::x"]


def test_a_file_that_says_so_is_recorded_under_another_path(chosen):
    chosen.write(
        "a.sql", b"--liquibase formatted sql logicalFilePath:old/name.sql\n--changeset x:1\nSELECT 1;\n"
    )

    assert list_versions(chosen) == ["old/name.sql::1::x"]


def test_two_changesets_of_one_name_are_refused(chosen):
    chosen.write("a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n--changeset x:1\nSELECT 2;\n".encode())

    answer = chosen("status")

    assert answer.code == 4
    assert "version a.sql::1::x is used 2 times" in answer.err


def test_contexts_must_be_known_before_anything_runs(shop):
    shop.configure('source = "liquibase"\n')

    answer = shop("status")

    assert answer.code == 4
    assert "shop.sql:15: whether changeset bob:3 runs depends on views,all" in answer.err
    assert '"liquibase.labelFilter" = "…"' in answer.err


@pytest.mark.parametrize(
    ("contexts", "expected"),
    [
        ("prod", ["a", "b", "d"]),
        ("test", ["a", "c"]),
        ("test,prod", ["a", "b", "c", "d"]),
        ("*", list("abcd")),
    ],
)
def test_the_chosen_contexts_decide_what_runs(chosen, contexts, expected):
    chosen.configure(f'source = "liquibase"\n[variables]\n"liquibase.contexts" = "{contexts}"\n')
    chosen.write(
        "a.sql",
        (
            f"{HEAD}--changeset x:a\nSELECT 1;\n--changeset x:b context:prod\nSELECT 1;\n"
            '--changeset x:c contextFilter:"test and !staging"\nSELECT 1;\n'
            '--changeset x:d context:"(prod or staging)"\nSELECT 1;\n'
        ).encode(),
    )

    assert [version.split("::")[1] for version in list_versions(chosen)] == expected


def test_a_label_filter_decides_what_runs(chosen):
    chosen.configure('source = "liquibase"\n[variables]\n"liquibase.labelFilter" = "v1 and !slow"\n')
    chosen.write(
        "a.sql",
        f"{HEAD}--changeset x:a labels:v1\nSELECT 1;\n--changeset x:b labels:v1,slow\nSELECT 1;\n".encode(),
    )

    assert list_versions(chosen) == ["a.sql::a::x"]


@pytest.mark.parametrize(
    ("dbms", "runs"),
    [
        ("postgresql", True),
        ("oracle,postgresql", True),
        ("oracle", False),
        ("!oracle", True),
        ("!postgresql", False),
    ],
)
def test_a_changeset_for_another_database_is_not_read(chosen, dbms, runs):
    chosen.write(
        "a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n--changeset x:2 dbms:{dbms}\nSELECT 1;\n".encode()
    )

    assert ("a.sql::2::x" in list_versions(chosen)) is runs


def test_properties_take_the_first_value_and_that_of_the_configuration_before_it(chosen, database):
    chosen.configure('source = "liquibase"\n[variables]\nowner = "ours"\n')
    chosen.write(
        "a.sql",
        (
            f"{HEAD}--property name:t value:first\n--property name:t value:second\n--property name:owner value:x\n"
            "--property name:o value:y dbms:oracle\n"
            "--changeset x:1\nCREATE TABLE ${t} (${owner} text DEFAULT '${o} ${:t}');\n"
            "INSERT INTO first DEFAULT VALUES;\n"
        ).encode(),
    )

    ran = chosen("run")

    assert ran.code == 0, ran.err
    assert database.execute("SELECT ours FROM first").fetchone() == ("${o} ${t}",)


def test_a_changeset_that_changed_runs_again_if_it_says_so(shop, database, history):
    shop("adopt", "--mirror")
    shop("run")
    shop.write("shop.sql", SHOP.replace("AS SELECT id FROM", "AS SELECT id, 1 AS one FROM").encode())

    again = shop("run", "--output", "json")

    assert [migration["version"] for migration in again.json["migrations"]] == ["shop.sql::3::bob"]
    row = next(row for row in list_rows(database) if row[0] == "3")
    assert row[4] == "RERAN"
    assert row[5] == compute_checksum("CREATE OR REPLACE VIEW order_ids AS SELECT id, 1 AS one FROM orders;")


def test_a_changeset_that_changed_is_refused(chosen, history):
    chosen.write("a.sql", f"{HEAD}--changeset x:1\nSELECT 2;\n".encode())
    history("1", "x", "a.sql", "SELECT 1;")

    answer = chosen("adopt")

    assert answer.code == 7
    assert "changed since it was applied: a.sql::1::x" in answer.err


@pytest.mark.parametrize(
    ("recorded", "line"),
    [
        ("9:00000000000000000000000000000000", "--validCheckSum: 9:00000000000000000000000000000000"),
        ("9:00000000000000000000000000000000", "--validCheckSum: ANY"),
        ("8:00000000000000000000000000000000", "-- checksums of version 8 are not compared"),
    ],
)
def test_other_checksums_may_be_no_change(chosen, history, recorded, line):
    chosen.write("a.sql", f"{HEAD}--changeset x:1\n{line}\nSELECT 2;\n".encode())
    history("1", "x", "a.sql", md5sum=recorded)

    assert read_outcomes(chosen("adopt", "--output", "json")) == {"a.sql::1::x": "recorded"}


def test_blanks_do_not_change_a_changeset(chosen):
    chosen.write("a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())
    chosen("run")
    chosen.write("a.sql", f"{HEAD}\n\n--changeset x:1\n\n  SELECT\t1 ;\n".encode())

    assert chosen("verify").code == 0


def test_the_lock_of_liquibase_is_refused(shop, database, history):
    database.execute("UPDATE databasechangeloglock SET locked = true, lockedby = 'ci (10.0.0.1)'")

    answer = shop("adopt")

    assert answer.code == 7
    assert "ci (10.0.0.1) holds Liquibase's lock" in answer.err
    assert "liquibase release-locks" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_a_row_without_its_changeset_is_refused(shop, history):
    history("9", "anna", "migrations/shop.sql", "SELECT 9;")

    answer = shop("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: migrations/shop.sql::9::anna" in answer.err


def test_a_changeset_that_runs_always_is_refused(chosen):
    chosen.write("a.sql", f"{HEAD}--changeset x:1 runAlways:true\nSELECT 1;\n".encode())

    answer = chosen("status")

    assert answer.code == 4
    assert "a.sql:3: Liquibase runs this changeset at every update, and confiture does not" in answer.err


@pytest.mark.parametrize(
    ("attribute", "line", "message"),
    [
        ("", "--preconditions onFail:MARK_RAN", "confiture evaluates no preconditions"),
        ("", "--precondition-sql-check expectedResult:0 SELECT 0", "confiture evaluates no preconditions"),
        ("failOnError:false", "-- so", "failOnError:false ignores errors"),
        ("runWith:psql", "-- so", "confiture does not run changesets with psql"),
    ],
)
def test_what_confiture_cannot_do_is_refused_only_if_it_is_pending(chosen, history, attribute, line, message):
    chosen.write(
        "a.sql",
        f"{HEAD}--changeset x:1 {attribute}\n{line}\nSELECT 1;\n--changeset x:2\nSELECT 2;\n".encode(),
    )
    pending = chosen("run")
    history("1", "x", "a.sql")

    adopted = chosen("adopt")

    assert pending.code == 4
    assert f"changeset x:1 cannot run: {message}" in pending.err
    assert adopted.code == 0, adopted.err
    assert chosen("run").code == 0


def test_a_changeset_in_xml_is_adopted_and_not_run(chosen, history):
    text = MASTER.replace('<include file="shop.sql" relativeToChangelogFile="true"/>', "").replace(
        "</databaseChangeLog>",
        '<changeSet id="1" author="old">\n<dropTable tableName="x"/>\n</changeSet>\n'
        '<changeSet id="2" author="old">\n<dropTable tableName="y"/>\n</changeSet>\n</databaseChangeLog>',
    )
    (chosen.migrations / "later").mkdir(parents=True)
    chosen.write("master.xml", text.encode())
    history("1", "old", "migrations/master.xml", md5sum="9:00000000000000000000000000000000")

    adopted = chosen("adopt", "--output", "json")
    ran = chosen("run")

    assert read_outcomes(adopted) == {"master.xml::1::old": "recorded", "master.xml::2::old": "pending"}
    assert ran.code == 4
    assert (
        "master.xml:11: changeset old:2 cannot run: confiture runs SQL, and this changeset is XML" in ran.err
    )


def test_changesets_in_yaml_are_known_and_do_not_run(chosen, history):
    chosen.write(
        "root.yaml",
        (
            b"databaseChangeLog:\n"
            b"  - changeSet:\n      id: 1\n      author: old\n      changes:\n        - dropTable:\n            id: 9\n"
            b"  - changeSet:\n      id: 2\n      author: old\n      changes:\n        - dropTable: {}\n"
        ),
    )
    history("1", "old", "root.yaml", md5sum="9:00000000000000000000000000000000")

    adopted = chosen("adopt", "--output", "json")
    ran = chosen("run")

    assert read_outcomes(adopted) == {"root.yaml::1::old": "recorded", "root.yaml::2::old": "pending"}
    assert ran.code == 4
    assert (
        "root.yaml:8: changeset old:2 cannot run: confiture runs SQL, and this changeset is YAML" in ran.err
    )


def test_a_changeset_without_rollback_is_not_undone(chosen):
    chosen.write("a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n".encode())
    chosen("run")

    answer = chosen("down")

    assert answer.code == 4
    assert "a.sql:3: changeset x:1 has no rollback" in answer.err


@pytest.mark.parametrize("text", ["empty", "not required"])
def test_an_empty_rollback_undoes_nothing(chosen, database, text):
    chosen.write("a.sql", f"{HEAD}--changeset x:1\nSELECT 1;\n--rollback {text}\n".encode())
    chosen("run")

    assert chosen("down").code == 0
    assert applied(database) == []


def test_lines_that_are_to_be_ignored_are(chosen, database):
    chosen.write(
        "a.sql",
        (
            f"{HEAD}--changeset x:1\n--ignoreLines:start\nDROP TABLE nothing;\n--ignoreLines:end\n"
            "CREATE TABLE t (id int);\n--ignoreLines:1\nDROP TABLE t;\n"
        ).encode(),
    )

    assert chosen("run").code == 0
    assert exists(database, "t")


@pytest.mark.parametrize("delimiter", ["", "endDelimiter:/", "endDelimiter:\\nGO", "endDelimiter:GO"])
def test_a_delimiter_alone_on_its_line_ends_a_statement(chosen, database, delimiter):
    sign = "/" if delimiter.endswith("/") else "GO"
    chosen.write(
        "a.sql",
        (
            f"{HEAD}--changeset x:1 {delimiter}\nCREATE TABLE a (go int DEFAULT 4 / 2)\n{sign}\n"
            f"CREATE TABLE b (t text DEFAULT '\n{sign}\n')\n{sign}\n"
        ).encode(),
    )

    ran = chosen("run")

    assert ran.code == 0, ran.err
    assert exists(database, "a")
    assert exists(database, "b")


@pytest.mark.parametrize("line", ["--changeset x", "-changeset x:1", "--changeset"])
def test_a_line_that_should_begin_a_changeset_is_refused(chosen, line):
    chosen.write("a.sql", f"{HEAD}--changeset x:0\nSELECT 1;\n{line}\nSELECT 1;\n".encode())

    answer = chosen("status")

    assert answer.code == 4
    assert "a.sql:5: this begins no changeset" in answer.err


def test_errors_have_the_place_of_the_file(chosen):
    chosen.write(
        "a.sql",
        (
            f"{HEAD}--changeset x:1\nSELECT 1;\n--rollback SELECT nothing;\n"
            "--changeset x:2\nSELECT 1;\n  SELECT 2 FROM nowhere;\n"
        ).encode(),
    )

    ran = chosen("run")
    down = chosen("down")

    assert "a.sql:8:17" in ran.err
    assert "a.sql:5:19" in down.err
