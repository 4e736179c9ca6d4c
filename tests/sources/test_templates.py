"""Templated files run, rehearse and lint with the values of the configuration."""

from __future__ import annotations

import pytest

from tests.project import tables

VARIABLES = """\
[variables]
schema = "app"
owner = "${ORDERS_OWNER}"
postgres = "true"
mysql = "false"

[env.test.variables]
schema = "app_test"
owner = "ann"
postgres = "true"
mysql = "false"
"""
ORDERS = """\
    CREATE SCHEMA ${schema};
    CREATE TABLE ${schema}.orders (
        {{ if .postgres }}id bigserial{{ else if .mysql }}id bigint AUTO_INCREMENT{{ end }},
        owner text DEFAULT '${owner}'
    );
    CREATE TABLE /* TEMPLATE: schema */jobs (id int);
    -- migrate:down
    """


@pytest.fixture
def templated(project):
    """A project with one templated migration."""
    project.configure(VARIABLES)
    project.environ["ORDERS_OWNER"] = "bob"
    project.write(
        "1_orders.sql", "-- migrate:up\n" + ORDERS.replace("    ", "") + "DROP SCHEMA ${schema} CASCADE;\n"
    )
    return project


def test_a_templated_file_is_applied_and_undone_with_its_values(templated, database):
    assert templated("dry-run", "--no-gate").code == 0
    assert templated("run").code == 0
    owner = database.execute("INSERT INTO app.orders DEFAULT VALUES RETURNING owner").fetchone()
    made = tables(database)
    undone = templated("down").code

    assert owner == ("bob",)
    assert {"app.orders", "app.jobs"} <= set(made)
    assert undone == 0
    assert "app.orders" not in tables(database)


def test_an_environment_of_the_configuration_has_its_own_values(templated, database):
    assert templated("run", "--env", "test").code == 0

    assert "app_test.orders" in tables(database)


def test_another_value_does_not_make_an_applied_file_a_changed_one(templated):
    templated("run")
    templated.environ["ORDERS_OWNER"] = "eve"

    assert templated("verify").code == 0
    assert templated("status").code == 0


def test_an_empty_value_keeps_the_default(project, database):
    project.configure('[variables]\nschema = ""\n')
    project.write("1_jobs.sql", "CREATE TABLE /* TEMPLATE: schema */jobs (id int);\n")

    answer = project("run")

    assert answer.code == 0, answer.err
    assert "public.jobs" in tables(database)


@pytest.mark.parametrize("command", ["run", "dry-run", "plan", "lint"])
def test_a_variable_without_a_value_stops_before_anything_is_applied(project, database, command):
    project.write("1_first.sql", "CREATE TABLE first (id int);\n")
    project.write("2_orders.sql", "SELECT 1;\nCREATE TABLE ${schema}.orders (id int);\n")

    answer = project(command)

    assert answer.code == 4, answer.err
    assert "2_orders.sql:2:14" in answer.err
    assert "${schema} has no value" in answer.err
    assert 'write schema = "…" below [tool.confiture.variables]' in answer.err
    assert "public.first" not in tables(database)


def test_an_error_of_the_server_names_the_line_of_the_file(templated, database):
    templated.write(
        "2_index.sql", "{{ if .mysql }}\nSELECT 1;\n{{ end }}\nCREATE INDEX ON ${schema}.orders (nothing);\n"
    )

    answer = templated("run")

    assert answer.code == 4
    assert "2_index.sql:4" in answer.err


def test_lint_reads_a_single_file_with_its_values(templated):
    answer = templated("lint", "migrations/1_orders.sql")

    assert answer.code == 0, answer.out + answer.err


def test_placeholders_in_texts_are_kept_without_variables(project, database):
    project.write("1_mail.sql", "CREATE TABLE mail AS SELECT '{{ .Name }} ${name} {{1,2},{3,4}}' AS body;\n")

    assert project("run").code == 0
    assert database.execute("SELECT body FROM mail").fetchone() == ("{{ .Name }} ${name} {{1,2},{3,4}}",)


def test_another_tool_s_files_are_filled_in_as_well(project, database):
    project.configure('source = "dbmate"\n[variables]\nschema = "app"\n')
    project.write(
        "1_orders.sql", "-- migrate:up\nCREATE SCHEMA ${schema};\n-- migrate:down\nDROP SCHEMA ${schema};\n"
    )

    assert project("run").code == 0
    assert database.execute("SELECT to_regnamespace('app') IS NOT NULL").fetchone() == (True,)
    assert project("down").code == 0
