"""What a rehearsal says wins over the text; what it cannot say does not."""

from __future__ import annotations

import pytest

from confiture.api import operations
from confiture.migrations.folder import read_folder
from confiture.models.report import StatementReport
from confiture.rules.evaluate import find_findings, has_failure, select_rules
from confiture.rules.judge_rehearsal import make_judge
from confiture.rules.parse_files import read_all
from confiture.rules.registry import collect_rules
from confiture.rules.rule import Hit, Rule
from tests.project import plugin
from tests.rules.examples import rehearsed, write

ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int)"
ROWS = "INSERT INTO orders SELECT g, 'n', g FROM generate_series(1, 500) g"


@pytest.fixture
def orders(database):
    """A table with rows."""
    database.execute(ORDERS)
    database.execute(ROWS)
    return database


def told(report):
    """Return rule, severity and basis of each finding, those left out that are off by default."""
    off = {rule.id for rule in collect_rules() if rule.severity == "off"}
    return [
        (finding.rule, finding.severity, finding.basis)
        for finding in report.findings
        if finding.rule not in off
    ]


def test_a_long_block_is_told_in_measured_numbers(project, orders):
    """It blocks writes only, although a later statement blocks reads too."""
    write(project, "\nCREATE INDEX orders_qty ON orders (qty);\nALTER TABLE orders DROP COLUMN note;")

    report = rehearsed(project)

    (finding,) = [found for found in report.findings if found.rule == "index-not-concurrent"]
    assert finding.basis == "measured"
    assert finding.relation == "public.orders"
    assert finding.message.startswith("builds public.orders_qty on public.orders (")
    assert finding.message.endswith(" ms) while blocking writes")
    assert (finding.file, finding.line) == ("migrations/1_step.sql", 2)


def test_what_the_rehearsal_contradicts_is_dropped(project, orders):
    """random() is volatile for every row, and still nothing is rewritten where the column is there already."""
    orders.execute("ALTER TABLE orders ADD COLUMN r float")
    write(project, "ALTER TABLE orders ADD COLUMN IF NOT EXISTS r float DEFAULT random();")

    report = rehearsed(project)

    assert "add-column-volatile-default" not in [rule for rule, _, _ in told(report)]


def test_an_empty_table_contradicts_nothing(project, database):
    """In a CI database there are no rows: there the text has the word."""
    database.execute(ORDERS)
    write(project, "ALTER TABLE orders ADD CHECK (qty > 0);")

    report = rehearsed(project)

    assert ("add-check-validated", "error", "static") in told(report)


def test_a_rewrite_of_an_empty_table_that_was_there_is_an_error(project, database):
    database.execute(ORDERS)
    write(project, "ALTER TABLE orders ALTER COLUMN qty TYPE bigint;")

    report = rehearsed(project)

    (finding,) = [found for found in report.findings if found.rule == "change-type-rewrite"]
    assert (finding.severity, finding.basis) == ("error", "measured")
    assert "holds no rows here" in finding.message


def test_a_table_of_an_earlier_pending_migration_is_new(project, database):
    write(project, f"{ORDERS};", "CREATE INDEX orders_qty ON orders (qty);")

    report = rehearsed(project)

    assert told(report) == []


def test_an_unknown_function_is_judged_by_what_it_did(project, orders):
    orders.execute("CREATE FUNCTION tick() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    orders.execute("CREATE FUNCTION tock() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'")
    write(
        project,
        "ALTER TABLE orders ADD COLUMN a int DEFAULT tick();",
        "ALTER TABLE orders ADD COLUMN b int DEFAULT tock();",
    )

    report = rehearsed(project)

    found = [
        finding.migration for finding in report.findings if finding.rule == "add-column-volatile-default"
    ]
    assert found == ["2"]


def test_what_a_do_block_does_gets_the_name_of_its_rule(project, orders):
    write(project, "DO $$ BEGIN EXECUTE 'ALTER TABLE orders ALTER COLUMN qty TYPE bigint'; END $$;")

    report = rehearsed(project)

    assert ("change-type-rewrite", "error", "measured") in told(report)


def test_no_long_block_goes_unnamed(project, orders):
    orders.execute(
        "CREATE FUNCTION widen(name text) RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN EXECUTE format('ALTER TABLE %I ALTER COLUMN qty TYPE bigint', name); END $$"
    )
    write(project, "SELECT widen('orders');")

    report = rehearsed(project)

    assert ("long-block", "error", "measured") in told(report)
    assert has_failure(report.findings)


def test_reading_a_table_under_an_earlier_lock_is_an_error(project, orders):
    write(project, "ALTER TABLE orders ADD COLUMN a int;\nUPDATE orders SET a = qty WHERE qty > 0;")

    report = rehearsed(project)

    assert ("statement-after-dangerous-lock", "error", "measured") in told(report)


def test_a_hook_after_the_lock_counts_too(project, orders):
    def after_ddl(conn):
        conn.execute("SELECT pg_sleep(0.2)")

    write(project, "ALTER TABLE orders ADD COLUMN a int;")
    settings = project.settings()

    report = operations.run(
        settings,
        plugins=(plugin(after_ddl=after_ddl),),
        dry_run=True,
        judge=make_judge(settings, select_rules(collect_rules())),
    )

    assert told(report) == [("statement-after-dangerous-lock", "warning", "measured")]


def test_a_python_migration_is_judged_by_what_it_ran(project, orders):
    (project.migrations / "1_step.py").write_text(
        "from confiture.models.migration import Migration\n\n\n"
        "class Step(Migration):\n"
        "    def up(self):\n"
        "        self.execute('ALTER TABLE %s ADD CHECK (qty > 0)' % 'orders')\n"
    )

    report = rehearsed(project)

    (finding,) = [found for found in report.findings if found.rule == "add-check-validated"]
    assert (finding.file, finding.line, finding.basis) == ("migrations/1_step.py", 6, "measured")


def test_an_exit_code_is_not_changed_by_a_finding(project, orders):
    write(project, "CREATE INDEX orders_qty ON orders (qty);")

    report = rehearsed(project)

    assert (report.outcome, report.exit_code) == ("ok", 0)


def test_names_are_quoted_in_recipes_where_postgresql_would(project, database):
    database.execute('CREATE TABLE "Odd Table" (id int, "select" int)')
    database.execute('INSERT INTO "Odd Table" SELECT g, g FROM generate_series(1, 100) g')
    write(project, 'ALTER TABLE "Odd Table" ALTER COLUMN "select" SET NOT NULL;')

    report = rehearsed(project)

    (finding,) = [found for found in report.findings if found.rule == "set-not-null-scan"]
    assert finding.relation == 'public."Odd Table"'
    added = 'ADD CONSTRAINT "Odd Table_select_filled" CHECK ("select" IS NOT NULL) NOT VALID'
    assert added in (finding.recipe or "")


def test_one_statement_may_break_several_rules(project, orders):
    write(project, "ALTER TABLE orders ALTER COLUMN note SET NOT NULL, ADD CONSTRAINT q CHECK (qty > 0);")

    report = rehearsed(project)

    errors = [rule for rule, severity, _ in told(report) if severity == "error"]
    assert errors == ["add-check-validated", "set-not-null-scan"]


def test_a_rehearsal_leaves_no_trace_of_the_judging(project, orders):
    write(project, "CREATE INDEX orders_qty ON orders (qty);")
    before = orders.execute("SELECT count(*) FROM pg_class").fetchall()

    rehearsed(project)

    assert orders.execute("SELECT count(*) FROM pg_class").fetchall() == before


def test_rules_of_a_plugin_are_asked_like_our_own(project, orders):
    from confiture.rules.rule import Hit, Rule

    def hits(piece):
        yield Hit("drinks the jam")

    jam = Rule(
        "jam-drunk", "warning", "static", "jam", "drinks", "none is left", check=hits, kinds=("select_stmt",)
    )
    brings = plugin("jam", rules=lambda: [jam])
    write(project, "SELECT 1;")
    settings = project.settings()

    judge = make_judge(settings, select_rules(collect_rules((brings,))))
    report = operations.run(settings, plugins=(brings,), dry_run=True, judge=judge)

    assert told(report) == [("jam-drunk", "warning", "static")]


def test_what_is_switched_off_is_not_told_under_another_name(project, orders):
    write(project, "CREATE INDEX orders_qty ON orders (qty);")
    book = select_rules(collect_rules(), {"index-not-concurrent": "off"})

    report = operations.run(
        project.settings(), dry_run=True, judge=make_judge(project.settings(), book, strict=False)
    )

    assert [rule for rule, severity, _ in told(report) if severity == "error"] == []


def asking(asked, **more):
    """Return a rule that finds something everywhere, and notes what it was asked of."""

    def hits(piece):
        asked.append(piece.sql)
        yield Hit("happens")

    return Rule(
        "anything", "error", "measured", summary="anything", effect="it", risk="so", check=hits, **more
    )


def test_without_a_rehearsal_it_is_asked_once_what_only_that_decides(files):
    write(files, "SELECT 1;\nSELECT 2;", "SELECT 3;")
    asked: list[str] = []
    book = select_rules([asking(asked)])

    found = find_findings(read_all(read_folder(files.migrations), files.folder), book)

    assert (found, book.undecided, asked) == ((), {"anything"}, ["SELECT 1"])


@pytest.mark.parametrize("rehearsed_only", [False, True])
def test_with_a_rehearsal_it_is_asked_of_every_statement(files, rehearsed_only):
    write(files, "SELECT 1;\nSELECT 2;")
    asked: list[str] = []
    (reading,) = read_all(read_folder(files.migrations), files.folder)
    for piece in reading.statements:
        piece.report = StatementReport(piece.line, piece.sql, 1.0)

    found = find_findings([reading], select_rules([asking(asked, rehearsed_only=rehearsed_only)]))

    assert [(finding.rule, finding.line, finding.basis) for finding in found] == [
        ("anything", 1, "measured"),
        ("anything", 2, "measured"),
    ]
    assert asked == ["SELECT 1", "SELECT 2"]


def test_who_looks_at_a_rehearsal_only_is_not_asked_without_one(files):
    write(files, "SELECT 1;")
    asked: list[str] = []
    book = select_rules([asking(asked, rehearsed_only=True)])

    find_findings(read_all(read_folder(files.migrations), files.folder), book)

    assert (book.undecided, asked) == (set(), [])
