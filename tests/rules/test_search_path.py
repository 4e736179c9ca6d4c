"""A name without a schema is that of the search path: what is new, and what a finding is about."""

from __future__ import annotations

import pytest

from tests.project import Project

TABLE = "CREATE TABLE orders (id int, qty int);"
INDEX = "CREATE INDEX orders_qty ON {name} (qty);"

SETTINGS = [
    "SET search_path = app;",
    "SET search_path TO 'app';",
    "SET LOCAL search_path = app;",
    "SET SCHEMA 'app';",
    'SET search_path = "$user", app, public;',
    "SELECT set_config('search_path', 'app, public', false);",
    "SELECT pg_catalog.set_config('search_path', '\"app\"', true);",
    "SET search_path = other; SET search_path = app;",
]


def found(
    project: Project, text: str, name: str = "1_a.sql", command: str = "lint"
) -> list[tuple[str, str | None]]:
    """Return rule and relation of each finding about an index."""
    project.write(name, text)
    findings = project(command, "--output", "json").json["findings"]
    return [(item["rule"], item["relation"]) for item in findings if "index" in item["rule"]]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_table_made_along_the_search_path_is_new_by_its_full_name(files, setting):
    assert found(files, f"{setting}\n{TABLE}\n{INDEX.format(name='app.orders')}") == []
    assert found(files, f"{setting}\nCREATE TABLE app.orders (qty int);\n{INDEX.format(name='orders')}") == []


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_table_of_another_schema_is_not_the_new_one(files, setting):
    """Without the search path both would be `orders`, and the dangerous index would pass as new."""
    text = f"{setting}\n{TABLE}\nRESET search_path;\n{INDEX.format(name='orders')}"

    assert found(files, text) == [("index-not-concurrent", "orders")]
    assert found(files, f"{setting}\n{TABLE}\n{INDEX.format(name='public.orders')}") != []


@pytest.mark.parametrize(
    "reset",
    [
        "RESET search_path;",
        "SET search_path TO DEFAULT;",
        "RESET ALL;",
        "SET search_path = public;",
        "SELECT set_config('search_path', 'public', false);",
    ],
)
def test_the_search_path_is_set_back(files, reset):
    text = f"SET search_path = app;\n{reset}\n{TABLE}\nSET search_path = app;\n{INDEX.format(name='orders')}"

    assert found(files, text) == [("index-not-concurrent", "app.orders")]


def test_a_finding_names_the_table_with_its_schema(files):
    assert found(files, f"SET search_path = app;\n{INDEX.format(name='orders')}") == [
        ("index-not-concurrent", "app.orders")
    ]


def test_with_several_schemas_a_table_that_is_only_used_may_be_in_any(files):
    assert found(files, f"SET search_path = app, public;\n{INDEX.format(name='orders')}") == [
        ("index-not-concurrent", "orders")
    ]


def test_a_local_setting_outside_a_transaction_sets_nothing(files):
    text = f"-- confiture: no-transaction\nSET LOCAL search_path = app;\n{TABLE}\n"

    assert found(files, f"{text}{INDEX.format(name='public.orders')}") == []


def test_a_temporary_table_is_in_no_schema_of_the_path(files):
    text = f"SET search_path = app;\n{TABLE.replace('TABLE', 'TEMP TABLE')}\n{INDEX.format(name='orders')}"

    assert found(files, text) == []


def test_a_setting_does_not_reach_the_next_migration(files):
    files.write("1_a.sql", f"SET search_path = app;\n{TABLE}")

    assert found(files, INDEX.format(name="orders"), "2_b.sql") == [("index-not-concurrent", "orders")]


def test_a_python_migration_sets_it_too(files):
    source = (
        "from confiture.models.migration import Migration\n\n\nclass A(Migration):\n    def up(self):\n"
        "        self.execute('SET search_path = app')\n"
        f"        self.execute({TABLE!r})\n        self.execute({INDEX.format(name='app.orders')!r})\n"
        "        self.execute('CREATE INDEX ON lines (qty)')\n"
    )

    assert found(files, source, "1_a.py") == [("index-not-concurrent", "app.lines")]


def test_a_rehearsal_tells_two_tables_of_one_name_apart(project, database):
    """The table that is new has no readers; the one of the same name in public has."""
    database.execute(
        f"CREATE SCHEMA app; {TABLE} INSERT INTO orders SELECT g, g FROM generate_series(1, 500) g"
    )
    text = f"SET search_path = app;\n{TABLE}\nRESET search_path;\n{INDEX.format(name='orders')}"

    assert found(project, text, command="dry-run") == [("index-not-concurrent", "public.orders")]


def test_a_rehearsal_knows_what_is_new_along_the_path(project, database):
    database.execute("CREATE SCHEMA app")
    fill = "INSERT INTO orders SELECT g, g FROM generate_series(1, 500) g;"
    project.write("1_a.sql", f"SET search_path = app, public;\n{TABLE}\n{fill}")

    for setting in ("", "SET search_path = app;\n", "SET search_path = app, public;\n"):
        name = "orders" if setting else "app.orders"
        assert found(project, setting + INDEX.format(name=name), "2_b.sql", "dry-run") == []


@pytest.mark.parametrize("statement", ["DROP TABLE orders;", "ALTER TABLE orders ADD CHECK (qty > 0);"])
def test_other_statements_name_it_too(files, statement):
    files.write("1_a.sql", f"SET search_path = app;\n{statement}")

    findings = files("lint", "--output", "json").json["findings"]

    assert "app.orders" in {item["relation"] for item in findings}
    files.write("1_a.sql", f"SET search_path = app;\n{TABLE}\n{statement}")
    assert [
        item for item in files("lint", "--output", "json").json["findings"] if item["severity"] == "error"
    ] == []
