"""The statements of a DO block are read by PL/pgSQL's own parser, each with its line in the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.migrations.folder import read_folder
from confiture.models.report import IndexBuild, Lock, MigrationReport, StatementReport
from confiture.rules.evaluate import find_findings, select_rules
from confiture.rules.parse_files import read_all
from confiture.rules.registry import collect_rules
from tests.rules.examples import rehearsed, write

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, v int)"
ROWS = "INSERT INTO orders SELECT g, g FROM generate_series(1, 500) g"

# What a finding inside a block could be mistaken for: SQL that only a comment or a string holds.
DECOYS = (
    "CREATE UNIQUE INDEX orders_v ON orders (v)",
    "DROP TABLE orders",
    "ALTER TABLE orders ADD COLUMN r float DEFAULT random()",
    "REFRESH MATERIALIZED VIEW totals",
    "TRUNCATE orders",
    "VACUUM FULL orders",
)
STATEMENTS = (
    "ALTER TABLE orders ALTER COLUMN id TYPE bigint;",
    "IF true THEN CREATE INDEX orders_v ON orders (v); END IF;",
    "EXECUTE 'ALTER TABLE orders ADD CHECK (v > 0)';",
    "UPDATE orders SET v = v + 1;",
    "PERFORM count(*) FROM orders;",
)


@pytest.fixture
def orders(database):
    """A table with rows."""
    database.execute(ORDERS)
    database.execute(ROWS)
    return database


def measured(text):
    """Return the findings of one migration whose rehearsal saw each kind of work on ``orders``."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "1_step.sql").write_text(text)
        (migration,) = read_all(read_folder(root), root)
    (block,) = migration.statements
    lock = Lock("public.orders", "table", "AccessExclusiveLock", ("reads", "writes"))
    block.report = StatementReport(
        1,
        block.sql,
        15.0,
        rewrites=("public.orders",),
        index_builds=(IndexBuild("public.orders_v", "public.orders", new=True),),
        scans=("public.orders",),
        locks=(lock,),
    )
    migration.report = MigrationReport(
        "1",
        "step",
        "rehearsed",
        statements=(block.report,),
        locks=(lock,),
        long_blocks=("public.orders",),
    )
    return find_findings([migration], select_rules(collect_rules()))


def block(*lines):
    """Return a DO block, a line of it on each line."""
    return "\n".join(["DO $do$", "BEGIN", *lines, "END", "$do$;"])


def comment(sql):
    """Return the SQL as the rest of a line that PostgreSQL passes over."""
    return f"-- rejected in review: ; {sql};"


def nested_comment(sql):
    """Return the SQL inside a comment in a comment."""
    return f"/* then /* inner */ ; {sql}; */"


def notice(sql):
    """Return a statement that prints the SQL."""
    return f"RAISE NOTICE '; {sql};';"


def test_a_finding_carries_the_line_of_the_inner_statement():
    found = measured("-- first line\n" + block("NULL;", "", STATEMENTS[0]))

    assert ("change-type-rewrite", 6) in [(finding.rule, finding.line) for finding in found]


def test_a_constant_string_that_execute_runs_is_read():
    found = measured(block("NULL;", "EXECUTE 'ALTER TABLE orders ALTER COLUMN id TYPE bigint';"))

    assert ("change-type-rewrite", 4) in [(finding.rule, finding.line) for finding in found]


@pytest.mark.parametrize("disguise", [comment, nested_comment, notice])
@pytest.mark.parametrize("sql", DECOYS)
def test_sql_in_a_comment_or_a_string_is_no_finding(sql, disguise):
    plain = measured(block("NULL;"))

    found = measured(block(disguise(sql), "NULL;"))

    assert [finding.rule for finding in found] == [finding.rule for finding in plain]


@given(
    st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4, unique=True),
    st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from([comment, nested_comment, notice]), st.sampled_from(DECOYS)
        ),
        max_size=6,
    ),
)
def test_comments_and_strings_never_change_what_is_found(statements, decoys):
    lines = list(statements)
    for place, disguise, sql in decoys:
        lines.insert(place, disguise(sql))

    plain, disguised = measured(block(*statements)), measured(block(*lines))

    assert {(finding.rule, finding.relation) for finding in disguised} == {
        (finding.rule, finding.relation) for finding in plain
    }


def test_a_rehearsed_block_with_rejected_sql_has_the_one_error_that_it_caused(project, orders):
    write(
        project,
        block(
            comment("CREATE UNIQUE INDEX orders_v ON orders (v)"),
            notice("CREATE INDEX orders_v ON orders (v)"),
            "IF false THEN DROP TABLE orders; END IF;",
            STATEMENTS[0],
        ),
    )

    report = rehearsed(project)

    errors = [(finding.rule, finding.line) for finding in report.findings if finding.severity == "error"]
    assert errors == [("change-type-rewrite", 6)]


def test_a_recipe_says_which_statement_leaves_the_block(project, orders):
    write(project, "SELECT 1;\nDO $$ BEGIN\nCREATE INDEX orders_v ON orders (v);\nEND $$;\n")

    (finding,) = [one for one in rehearsed(project).findings if one.rule == "index-not-concurrent"]

    assert finding.files[0].sql.startswith("-- in place of the statement in the DO block on line 2 of ")
