"""What is there before a pull request is what the base branch makes, however empty the database of CI is."""

from __future__ import annotations

import psycopg
import pytest

from confiture.rules.explain import find_recipe, read_example, render_dangerous
from confiture.rules.registry import collect_rules
from tests.gate.test_changes import commit
from tests.project import Project

pytestmark = pytest.mark.slow

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, customer int, day date);\n"
INDEX = "CREATE INDEX orders_day ON orders (day);\n"
PLANS = "CREATE TABLE plans (id int, name text);\nINSERT INTO plans VALUES (1, 'free');\n"
RULES = {rule.id: rule for rule in collect_rules()}
WITH_RECIPE = [
    rule.id
    for rule in RULES.values()
    if rule.example and rule.severity != "off" and find_recipe(rule, read_example(rule.example))
]
# The pull request of these fails before anything can be judged: PostgreSQL or confiture refuses it.
REFUSED = {"concurrently-in-transaction", "transaction-control-in-migration"}


@pytest.fixture
def pull_request(repository: Project, database_url: str, git):
    """Merge one migration, and return a function that rehearses a branch with others as CI does."""
    repository.url = database_url

    def check(base: str, *added: str, command: tuple[str, ...] = ("dry-run", "--since", "main")):
        repository.write("0001_orders.sql", base)
        commit(git)
        git("branch", "--quiet", "--force", "main")
        for number, text in enumerate(added, 2):
            repository.write(f"{number:04}_step.sql", text)
        commit(git)
        return repository(*command, "--output", "json")

    return check


def counted(answer) -> list[tuple[str, str]]:
    """Return rule and severity of what counts."""
    return [
        (finding["rule"], finding["severity"])
        for finding in answer.json["findings"]
        if not finding["ignored"] and finding["severity"] != "info"
    ]


COMMANDS = {
    "dry-run": ("dry-run", "--since", "main"),
    "clone": ("dry-run", "--since", "main", "--in", "clone"),
    "lint": ("lint", "--since", "main"),
}


@pytest.fixture(params=COMMANDS)
def command(request) -> tuple[str, ...]:
    return COMMANDS[request.param]


def test_an_index_on_a_merged_table_fails(pull_request, command):
    answer = pull_request(ORDERS, INDEX, command=command)

    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", "error")])


def test_an_index_on_a_table_of_the_same_pull_request_passes_though_it_has_a_row(pull_request, command):
    answer = pull_request(ORDERS, PLANS, "CREATE INDEX plans_name ON plans (name);\n", command=command)

    assert (answer.code, counted(answer)) == (0, [])


def test_a_merged_table_that_has_a_row_is_no_way_out(pull_request, command):
    answer = pull_request(PLANS, "CREATE INDEX plans_name ON plans (name);\n", command=command)

    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", "error")])


@pytest.mark.parametrize("applied", [False, True])
def test_a_merged_table_that_is_applied_and_empty_is_in_use(pull_request, repository, database_url, applied):
    if applied:
        repository.write("0001_orders.sql", ORDERS)
        assert repository("run").code == 0

    answer = pull_request(ORDERS, INDEX, command=("dry-run", "--since", "main", "--in", "clone"))

    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", "error")])


def test_a_merged_file_that_was_edited_or_renamed_makes_nothing_new(pull_request, repository, git):
    pull_request(ORDERS, INDEX)
    repository.write("0001_orders.sql", f"-- a note\n{ORDERS}")
    git("mv", "migrations/0001_orders.sql", "migrations/0001_purchases.sql")
    commit(git)

    answer = repository("dry-run", "--since", "main", "--output", "json")

    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", "error")])


def test_create_if_not_exists_makes_no_merged_table_new(pull_request):
    answer = pull_request(ORDERS, f"{ORDERS.replace('TABLE', 'TABLE IF NOT EXISTS')}{INDEX}")

    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", "error")])


def test_a_backfill_under_the_lock_of_a_new_column_fails(pull_request):
    answer = pull_request(
        ORDERS, "ALTER TABLE orders ADD COLUMN region text;\nUPDATE orders SET region = 'EU';\n"
    )

    assert answer.code == 1
    assert ("statement-after-dangerous-lock", "error") in counted(answer)


def test_a_look_up_by_an_index_under_a_lock_passes(pull_request):
    answer = pull_request(
        ORDERS, "ALTER TABLE orders ADD COLUMN region text;\nUPDATE orders SET region = 'EU' WHERE id = 7;\n"
    )

    assert (answer.code, counted(answer)) == (0, [])


def test_a_gin_index_looks_up_no_null(pull_request):
    base = "CREATE TABLE job (args jsonb);\nCREATE INDEX job_args ON job USING gin (args);\n"
    answer = pull_request(
        base, "ALTER TABLE job ALTER args SET DEFAULT '{}';\nUPDATE job SET args = '{}' WHERE args IS NULL;\n"
    )

    assert ("statement-after-dangerous-lock", "error") in counted(answer)


def test_a_block_that_no_rule_knows_fails(pull_request):
    answer = pull_request(
        ORDERS,
        "DO $$ BEGIN EXECUTE format('CREATE INDEX %I ON %I (%I)', 'orders_day', 'orders', 'day'); END $$;\n",
    )

    assert answer.code == 1
    assert [severity for _, severity in counted(answer)] == ["error"]


def test_a_rewrite_inside_a_do_block_fails(pull_request):
    """An empty table has a new file then, as after TRUNCATE."""
    added = "ADD COLUMN twice int GENERATED ALWAYS AS (customer * 2) STORED"
    answer = pull_request(ORDERS, f"DO $$ BEGIN ALTER TABLE orders {added}; END $$;\n")

    assert (answer.code, counted(answer)) == (1, [("add-column-generated-stored", "error")])


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ADD CHECK (customer > 0)",
        "ALTER TABLE orders ADD region text; UPDATE orders SET region = 'EU'",
        "CLUSTER orders USING orders_pkey",
        "EXECUTE 'CLUSTER orders USING orders_pkey'",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "DO $do$ BEGIN {}; END $do$;\n",
        "CREATE FUNCTION go() RETURNS void LANGUAGE plpgsql AS $go$ BEGIN {}; END $go$;\nSELECT go();\n",
    ],
)
def test_work_under_a_lock_inside_a_block_or_a_function_fails(pull_request, text, change):
    answer = pull_request(ORDERS, text.format(change))

    assert answer.code == 1
    assert "error" in [severity for _, severity in counted(answer)]


def test_a_function_that_only_reads_passes(pull_request):
    reader = (
        "CREATE FUNCTION go() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM orders';\nSELECT go();\n"
    )

    assert counted(pull_request(ORDERS, reader)) == []


def test_truncate_inside_a_do_block_is_no_rewrite(pull_request):
    answer = pull_request(ORDERS, "DO $$ BEGIN TRUNCATE orders; END $$;\n")

    assert (answer.code, counted(answer)) == (0, [("truncate", "warning")])


def test_judge_after_makes_the_tables_of_older_migrations_be_in_use(project):
    project.configure('[gate]\njudge_after = "1"\n')
    project.write("1_orders.sql", ORDERS)
    project.write("2_plans.sql", PLANS)
    project.write("3_index.sql", f"{INDEX}CREATE INDEX plans_name ON plans (name);\n")

    answer = project("dry-run", "--output", "json")

    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", "error")])


PARTED = (
    "CREATE TABLE metric (id int, at date NOT NULL) PARTITION BY RANGE (at);\n"
    "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');\n"
)


@pytest.mark.parametrize("base", [PARTED, PARTED.splitlines()[0] + "\n"])
def test_an_index_on_a_partitioned_table_is_judged_alike(pull_request, command, base):
    answer = pull_request(base, "CREATE INDEX metric_at ON metric (at);\n", command=command)

    assert (answer.code, counted(answer)) == (1, [("partitioned-index-recurses", "error")])


@pytest.mark.parametrize("name", WITH_RECIPE)
def test_a_pull_request_that_blocks_production_fails_on_an_empty_server(pull_request, name):
    rule = RULES[name]
    assert rule.example

    answer = pull_request(f"{rule.example.schema}\n", render_dangerous(rule.example))

    if name in REFUSED:
        assert answer.code == 4
        return
    assert (name, rule.severity) in counted(answer), answer.json["findings"]
    assert answer.code == (1 if rule.severity == "error" else 0)


def test_statistics_of_production_may_say_that_a_table_is_empty(pull_request, repository, database_url, git):
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"{ORDERS} ANALYZE orders".encode())
        exported = repository("stats", "export")
        (repository.folder / "production.json").write_text(exported.out)
        conn.execute("DROP TABLE orders")

    answer = pull_request(
        ORDERS,
        "ALTER TABLE orders ALTER COLUMN day TYPE text;\n",
        command=("dry-run", "--since", "main", "--production", "production.json"),
    )

    assert exported.code == 0
    assert [severity for _, severity in counted(answer) if severity == "error"] == []


@pytest.mark.parametrize(
    ("made", "batches"),
    [
        ("CREATE TABLE pot (number serial PRIMARY KEY, full_to int);", "WHERE number > batch_from"),
        ("CREATE TABLE pot (full_to int, number int8, PRIMARY KEY (number));", "WHERE number > batch_from"),
        (
            "CREATE TABLE pot (id int PRIMARY KEY, full_to int);ALTER TABLE pot RENAME id TO number;",
            "WHERE number > batch_from",
        ),
        ("CREATE TABLE pot (number uuid PRIMARY KEY, full_to int);", ""),
        ("CREATE TABLE pot (a int, b int, full_to int, PRIMARY KEY (a, b));", ""),
    ],
)
def test_batches_go_by_the_key_that_a_merged_migration_makes(pull_request, made, batches):
    """The database is empty, so that its catalog does not tell."""
    answer = pull_request(made, "UPDATE pot SET full_to = 0;")

    (finding,) = [one for one in answer.json["findings"] if one["rule"] == "unbounded-dml"]
    assert batches in "".join(file["sql"] for file in finding["files"])
    assert bool(finding["files"]) is bool(batches)
