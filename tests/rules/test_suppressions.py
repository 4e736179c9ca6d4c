"""Rules that are let pass by a comment, and comments that let nothing pass."""

from __future__ import annotations

import pytest

from confiture.exceptions import ConfigurationFault, MigrationFault
from confiture.rules.lint import lint
from tests.rules.examples import rehearsed, write

INDEX = "CREATE INDEX orders_qty ON orders (qty);"


def found(report):
    """Return rule, line and whether it is ignored of each finding."""
    return [(finding.rule, finding.line, finding.ignored) for finding in report.findings]


def test_an_ignore_above_a_statement_lets_that_one_pass(files):
    write(files, f'SELECT 1;\n-- confiture: ignore index-not-concurrent reason="small"\n{INDEX}\n{INDEX}')

    report = lint(files.settings())

    assert found(report) == [("index-not-concurrent", 3, True), ("index-not-concurrent", 4, False)]
    assert report.exit_code == 1


def test_an_ignore_above_the_first_statement_lets_the_whole_file_pass(files):
    write(
        files, f"-- confiture: ignore index-not-concurrent, drop-table\n{INDEX}\n{INDEX}\nDROP TABLE orders;"
    )

    report = lint(files.settings())

    assert {finding.ignored for finding in report.findings} == {True}
    assert report.exit_code == 0


def test_an_ignore_that_lets_nothing_pass_is_a_warning(files):
    write(files, "-- confiture: ignore index-not-concurrent\nSELECT 1;")

    report = lint(files.settings())

    assert [(finding.rule, finding.severity) for finding in report.findings] == [("unused-ignore", "warning")]


def test_lint_does_not_call_an_ignore_unused_that_only_a_rehearsal_can_judge(files):
    write(files, "-- confiture: ignore change-type-rewrite\nALTER TABLE orders ALTER COLUMN qty TYPE bigint;")

    report = lint(files.settings())

    assert found(report) == []


def test_a_rehearsal_does(project, database):
    database.execute("CREATE TABLE orders (id bigint, code varchar(10))")
    database.execute("INSERT INTO orders VALUES (1, 'a')")
    write(
        project,
        "-- confiture: ignore change-type-rewrite\nALTER TABLE orders ALTER COLUMN code TYPE varchar(20);",
    )

    report = rehearsed(project)

    assert "change-type-rewrite" not in [finding.rule for finding in report.findings]


@pytest.mark.parametrize("comment", ["", ' reason=""', ' reason="  "'])
def test_strict_wants_a_reason(comment, files):
    write(files, f"-- confiture: ignore index-not-concurrent{comment}\n{INDEX}")

    lenient, strict = lint(files.settings()), lint(files.settings(), strict=True)

    assert lenient.exit_code == 0
    assert ("ignore-without-reason", 1, False) in found(strict)
    assert strict.exit_code == 1


def test_strict_is_content_with_a_reason(files):
    write(files, f'-- confiture: ignore index-not-concurrent reason="empty until March"\n{INDEX}')

    report = lint(files.settings(), strict=True)

    assert report.exit_code == 0


def test_an_unknown_rule_in_an_ignore_is_told_the_nearest(files):
    write(files, f"SELECT 1;\n-- confiture: ignore index-not-concurent\n{INDEX}")

    with pytest.raises(
        MigrationFault, match=r"migrations/1_step\.sql:3: ignores the rule 'index-not-concurent'"
    ) as caught:
        lint(files.settings())

    assert "did you mean 'index-not-concurrent'?" in (caught.value.hint or "")


def test_a_severity_may_be_changed_by_rule(files):
    write(files, f"{INDEX}\nALTER TABLE orders ADD COLUMN doc json;")

    report = lint(files.settings(), severity={"index-not-concurrent": "info", "prefer-jsonb": "error"})

    assert [(finding.rule, finding.severity) for finding in report.findings] == [
        ("index-not-concurrent", "info"),
        ("prefer-jsonb", "error"),
    ]


def test_a_rule_that_is_off_says_nothing(files):
    write(files, INDEX)

    report = lint(files.settings(), severity={"index-not-concurrent": "off"})

    assert report.findings == ()


@pytest.mark.parametrize(
    "severity,said",
    [
        ({"index-not-concurent": "off"}, "did you mean 'index-not-concurrent'"),
        ({"drop-table": "bad"}, "one of error"),
    ],
)
def test_a_severity_that_cannot_be_read_is_an_error(severity, said, files):
    write(files, INDEX)

    with pytest.raises(ConfigurationFault) as caught:
        lint(files.settings(), severity=severity)

    assert said in (caught.value.hint or "")


def test_a_fingerprint_stays_when_lines_are_added_above(files):
    write(files, f"{INDEX}\n{INDEX}")
    before = lint(files.settings())
    write(files, f"SELECT 1;\n\n{INDEX.replace(' ON', '   ON')}\n{INDEX}")

    after = lint(files.settings())

    assert [finding.fingerprint for finding in after.findings] == [
        finding.fingerprint for finding in before.findings
    ]
    assert len({finding.fingerprint for finding in after.findings}) == 2
    assert {len(finding.fingerprint) for finding in after.findings} == {32}


def test_a_fingerprint_changes_with_the_file_and_the_statement(files):
    write(files, INDEX, INDEX, INDEX.replace("qty)", "note)"))

    report = lint(files.settings())

    assert len({finding.fingerprint for finding in report.findings}) == 3
