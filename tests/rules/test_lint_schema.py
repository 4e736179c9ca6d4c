"""``lint --schema`` judges a live schema or the one that the migrations lead to, with the gate around it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.project import Answer, Project

PAGE = Path(__file__).parents[2] / "docs" / "writing-rules.md"
POINTLESS = "CREATE TABLE w_orders (number text);"
SIDES = '[schema.cqrs]\nwrite = ["w_*"]\nread = ["r_*"]\n'


def judge(project: Project, *arguments: str) -> Answer:
    """Judge the project's database."""
    return project("lint", "--schema", "--url", project.url, *arguments)


def find(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """Return the findings about the project's database."""
    return judge(project, "--output", "json", *arguments).json["findings"]


def list_rules(project: Project) -> set[tuple[str, str]]:
    """Return rule and object of each finding that counts."""
    return {(item["rule"], item["relation"]) for item in find(project) if not item["ignored"]}


@pytest.fixture
def orders(project: Project, database) -> Project:
    """A project whose database has a table without a primary key."""
    database.execute(POINTLESS)
    return project


def test_a_fault_fails_the_gate(orders):
    answer = judge(orders)

    assert answer.code == 1
    assert "public.w_orders: error: public.w_orders has no primary key  [schema-primary-key]" in answer.out
    assert "1 table, 0 views, 0 functions judged on PostgreSQL" in answer.out
    assert "gate: failed (1 error): schema-primary-key at public.w_orders" in answer.out
    assert 'add to ignore in [schema]: { rule = "schema-primary-key"' in answer.out


def test_a_sound_schema_passes(project, database):
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, at timestamptz)")

    answer = judge(project)

    assert answer.code == 0
    assert "nothing found" in answer.out


def test_only_the_structure_is_judged_until_more_is_configured(orders):
    assert "not configured, so off: schema-comment, tenant-column," in judge(orders).out

    orders.configure(SIDES)

    assert "cqrs-sources" not in judge(orders).out


def test_a_server_that_is_not_there_is_exit_code_3(files):
    answer = files("lint", "--schema", "--url", "postgresql://localhost:1/none")

    assert answer.code == 3


def test_a_url_without_schema_and_files_with_it_are_refused(project):
    assert project("lint", "--url", project.url).code == 2
    assert project("lint", "--schema", "migrations").code == 2


def test_a_live_schema_is_only_read(orders, database):
    database.execute("ALTER DATABASE " + database.info.dbname + " SET default_transaction_read_only = on")

    assert judge(orders).code == 1

    assert database.execute("SELECT to_regnamespace('confiture')").fetchone() == (None,)


def test_the_ledger_and_extensions_are_not_judged(project, database):
    project.write("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY);")
    assert project("run").code == 0

    assert find(project) == []


@pytest.mark.slow
def test_without_a_url_the_migrations_say_what_the_schema_is(files):
    files.write("1_orders.sql", f"-- The orders.\n{POINTLESS}\n")
    files.write(
        "2_key.sql", "ALTER TABLE w_orders ADD COLUMN id int PRIMARY KEY;\nCREATE TABLE w_lines (n int);"
    )

    answer = files("lint", "--schema", "--output", "json")

    assert answer.code == 1
    (found,) = answer.json["findings"]
    assert (found["relation"], found["file"], found["line"]) == ("public.w_lines", "migrations/2_key.sql", 2)
    assert found["migration"] == "2"


@pytest.mark.slow
def test_a_migration_that_fails_is_reported_as_a_run_would(files):
    files.write("1_orders.sql", "CREATE TABLE w_orders (id no_such_type);")

    answer = files("lint", "--schema", "--output", "json")

    assert answer.code == 4
    assert "no_such_type" in answer.json["migrations"][0]["error"]["message"]


def test_without_migrations_there_is_nothing_to_build(files):
    assert files("lint", "--schema").code == 2


def test_the_configuration_ignores_by_rule_and_object(orders, database):
    database.execute("CREATE TABLE w_lines (number text)")
    orders.configure(
        '[schema]\nignore = [{ rule = "schema-primary-key", object = "w_o*", reason = "a log" }]'
    )

    assert list_rules(orders) == {("schema-primary-key", "public.w_lines")}
    assert [item["ignored"] for item in find(orders)] == [False, True]


def test_a_comment_on_the_object_ignores(orders, database):
    database.execute(
        "COMMENT ON TABLE w_orders IS 'A log. confiture: ignore schema-primary-key reason=\"only appended\"'"
    )

    assert judge(orders, "--strict").code == 0


def test_a_comment_on_a_column_ignores_what_is_about_the_column(orders, database):
    database.execute("ALTER TABLE w_orders ADD PRIMARY KEY (number), ADD a timestamp, ADD b timestamp")
    database.execute("COMMENT ON COLUMN w_orders.a IS 'confiture: ignore schema-timestamp'")

    found = [(item["message"].split()[0], item["ignored"]) for item in find(orders)]

    assert found == [("public.w_orders.a", True), ("public.w_orders.b", False)]


def test_an_ignore_that_ignores_nothing_is_a_finding_and_one_without_a_reason_too_if_strict(orders, database):
    database.execute("COMMENT ON TABLE w_orders IS 'confiture: ignore schema-unlogged'")

    assert ("unused-ignore", "public.w_orders") in list_rules(orders)
    assert "ignore-without-reason" in judge(orders, "--strict").out


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            '[schema]\nignore = [{ rule = "schema-primarykey", object = "*" }]',
            "did you mean 'schema-primary-key'?",
        ),
        ("[schema.cqrs]\nwriet = []", "did you mean 'write'?"),
        ("[schema]\ncqr = {}", "did you mean 'cqrs'?"),
        ('[schema.structure]\ncomments = ["tabel"]', "'tabel' is none of these"),
        ('[schema.structure]\npartition_above = "5"', "has no unit"),
        ('[schema]\nignore = [{ rule = "schema-unlogged" }]', "object is missing"),
        ("schema = 3", "the name of a schema"),
    ],
)
def test_a_faulty_configuration_is_exit_code_2(orders, configuration, message):
    orders.configure(configuration)

    answer = judge(orders)

    assert answer.code == 2
    assert message in answer.err


def test_the_ledger_keeps_its_name_beside_the_table(project, database):
    project.configure('[schema]\nledger = "history"\n\n[env.test]\nschema = "other"\n')
    project.write("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY);")

    assert project("run").code == 0
    assert project("run", "--env", "test", "--to", "1").code in (0, 4)

    assert database.execute("SELECT to_regclass('history.ledger') IS NOT NULL").fetchone() == (True,)


def test_an_environment_overrides_single_keys(orders):
    orders.configure(f'{SIDES}\n[env.strict.schema.cqrs]\nwrite = ["never_*"]\n')

    assert "cqrs-table-name" not in judge(orders).out
    assert "cqrs-table-name" in judge(orders, "--env", "strict").out


def test_a_severity_is_configured_as_for_any_rule(orders):
    orders.configure('[gate.severity]\nschema-primary-key = "warning"')
    assert judge(orders).code == 0

    orders.configure('[gate.severity]\nschema-primary-key = "off"')
    assert find(orders) == []


def test_accepted_findings_pass_and_only_the_schema_can_take_them_back(orders, database):
    assert orders("accept", "--schema", "--url", orders.url).code == 0
    orders.write("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY);")
    file = orders.folder / ".confiture-accepted.json"

    assert judge(orders).code == 0
    assert orders("accept", "--static", "--prune").code == 0
    assert "schema-primary-key" in file.read_text()

    database.execute("ALTER TABLE w_orders ADD PRIMARY KEY (number)")
    assert orders("accept", "--schema", "--url", orders.url, "--prune").code == 0
    assert json.loads(file.read_text()) == {"accepted": []}


def test_every_format_has_the_finding(orders):
    formats = ("json", "sarif", "junit", "gitlab", "markdown", "html")
    wanted = [word for name in formats for word in ("--output", f"{name}=report.{name}")]

    answer = judge(orders, *wanted, "--output", "github")

    assert answer.code == 1
    assert "::error title=confiture%3A schema-primary-key::" in answer.out
    for name in formats:
        text = (orders.folder / f"report.{name}").read_text(encoding="utf-8")
        assert "schema-primary-key" in text, name
        assert "has no primary key" in text, name


def test_a_fingerprint_outlives_the_migration_that_is_written_next(orders, database):
    (before,) = find(orders)
    orders.write("1_orders.sql", POINTLESS)
    database.execute("CREATE TABLE w_before (id int)")

    after = next(item for item in find(orders) if item["relation"] == "public.w_orders")

    assert (before["file"], after["file"]) == ("", "migrations/1_orders.sql")
    assert before["fingerprint"] == after["fingerprint"]


def test_schemas_that_are_not_named_are_not_judged(orders, database):
    database.execute("CREATE SCHEMA sales; CREATE TABLE sales.lines (n int)")
    orders.configure('[schema]\nschemas = ["sal*"]')

    assert list_rules(orders) == {("schema-primary-key", "sales.lines")}


def test_the_text_of_a_migration_that_changes_a_source_is_judged_with_its_ignores(project, database):
    project.configure(SIDES)
    database.execute(
        "CREATE TABLE w_orders (id int PRIMARY KEY);"
        "CREATE MATERIALIZED VIEW r_orders AS SELECT id FROM w_orders;"
        "CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS 'REFRESH MATERIALIZED VIEW r_orders'"
    )
    project.write("1_note.sql", "SELECT 1;\nALTER TABLE w_orders ADD COLUMN note text;")
    project.write("2_more.sql", "ALTER TABLE w_orders ADD COLUMN more text;\nSELECT fill();")
    ignored = (
        '-- confiture: ignore cqrs-refill reason="not shown"\nALTER TABLE w_orders ADD COLUMN last text;'
    )
    project.write("3_last.sql", ignored)

    found = {(item["file"], item["line"]): item["ignored"] for item in find(project)}

    assert found == {("migrations/1_note.sql", 2): False, ("migrations/3_last.sql", 2): True}
    # `lint` without --schema cannot know whether the ignore is of use.
    assert "unused-ignore" not in project("lint").out


def test_the_rule_about_schemas_on_the_page_is_a_plugin(orders):
    (source,) = [
        text
        for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
        if "created_by" in text
    ]
    orders.install("acme", source)

    assert "has no column created_by  [acme-created-by]" in judge(orders, "--plugins", "acme").out
    assert "acme-created-by" in orders("rules", "--plugins", "acme").out


def test_a_rule_that_needs_a_key_that_there_is_not_is_refused(orders):
    orders.install(
        "acme",
        "from confiture import hookimpl\nfrom confiture.rules.rule import Rule\n\n@hookimpl\ndef rules():\n"
        "    return [Rule(id='acme', severity='error', basis='static', summary='a', effect='a', risk='a',\n"
        "                 check_schema=lambda schema: (), needs=('cqrs.writes',))]\n",
    )

    answer = judge(orders, "--plugins", "acme")

    assert answer.code == 2
    assert "did you mean 'cqrs.write'?" in answer.err


def test_rules_lists_and_explains_the_rules_about_schemas(files):
    assert re.search(r"tenant-unique +error +schema ", files("rules").out)

    assert "off without tenancy.tables in [tool.confiture.schema]" in files("rules", "tenant-unique").out


def test_a_read_model_is_no_source_not_even_its_own(project, database):
    project.configure(SIDES)
    database.execute("CREATE TABLE r_orders (id int PRIMARY KEY)")
    database.execute("COMMENT ON TABLE r_orders IS 'confiture: sources r_orders'")

    assert list_rules(project) == {
        ("cqrs-not-filled", "public.r_orders"),
        ("cqrs-source-side", "public.r_orders"),
    }


def test_a_foreign_key_to_a_partitioned_table_is_judged_once(project, database):
    # PostgreSQL keeps a constraint for each partition, with a name of its own.
    database.execute(
        "CREATE TABLE days (day date PRIMARY KEY) PARTITION BY RANGE (day);"
        "CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "CREATE TABLE visits (id int PRIMARY KEY, day date REFERENCES days)"
    )

    (found,) = find(project)

    assert found["rule"] == "schema-foreign-key-index"
    assert "visits_day_fkey" in found["message"]


def test_names_are_found_in_the_schema_of_the_function_first(project, database):
    project.configure(SIDES)
    for schema in ("a", "b"):
        database.execute(
            f"CREATE SCHEMA {schema}; SET search_path = {schema};"
            "CREATE TABLE w_orders (id int PRIMARY KEY); CREATE TABLE r_orders (id int PRIMARY KEY);"
            "COMMENT ON TABLE r_orders IS 'confiture: sources w_orders';"
        )
    database.execute(
        "SET search_path = a; CREATE FUNCTION fill() RETURNS void LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO r_orders SELECT id FROM w_orders; END'"
    )

    assert list_rules(project) == {("cqrs-not-filled", "b.r_orders")}


def test_a_role_without_any_right_can_judge_the_catalog(orders, database_url):
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS reader_of_nothing")
        conn.execute("CREATE ROLE reader_of_nothing")
    try:
        answer = orders("lint", "--schema", "--url", f"{orders.url}&options=-crole%3Dreader_of_nothing")
    finally:
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("DROP ROLE reader_of_nothing")

    assert answer.code == 1


@pytest.mark.slow
def test_every_finding_names_the_line_that_wrote_it(files):
    files.configure('[schema.tenancy]\ntables = ["*"]\n')
    files.write(
        "1_orders.sql",
        """\
        CREATE TABLE orders (
            tenant_id uuid NOT NULL,
            id uuid PRIMARY KEY,
            number text UNIQUE,
            "At" timestamp
        );
        CREATE INDEX orders_tenant ON orders (tenant_id);
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        """,
    )
    files.write("2_up.sql", "SELECT 1;\nALTER TABLE orders\n    ADD up uuid REFERENCES orders;\n")

    found = files("lint", "--schema", "--output", "json").json["findings"]

    assert [(item["rule"], item["file"][11:], item["line"]) for item in found] == [
        ("tenant-policy", "1_orders.sql", 1),
        ("tenant-unique", "1_orders.sql", 4),
        ("schema-timestamp", "1_orders.sql", 5),
        ("schema-name-case", "1_orders.sql", 5),
        ("schema-foreign-key-index", "2_up.sql", 3),
        ("tenant-foreign-key", "2_up.sql", 3),
    ]


def test_what_older_migrations_created_does_not_count_after_judge_after(orders):
    orders.configure('[gate]\njudge_after = "1"\n')
    orders.write("1_orders.sql", POINTLESS)

    assert judge(orders).code == 0
    assert [item["ignored"] for item in find(orders)] == [True]
