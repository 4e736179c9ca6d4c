"""A policy turns findings into an exit code, and into a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.gate.judge import judge_report
from confiture.gate.scope import Scope
from tests.gate.reports import finding, migration, policy, rehearsal, statement

SEVERITIES = st.sampled_from(["error", "warning", "info"])
FINDINGS = st.lists(
    st.builds(
        finding,
        severity=SEVERITIES,
        ignored=st.booleans(),
        fingerprint=st.sampled_from("abcd"),
        migration=st.sampled_from("123"),
    )
).map(tuple)


@pytest.mark.parametrize(
    ("severity", "fail_on", "code"),
    [
        ("error", "error", 1),
        ("error", "warning", 1),
        ("error", "never", 0),
        ("warning", "error", 0),
        ("warning", "warning", 1),
        ("warning", "never", 0),
        ("info", "warning", 0),
    ],
)
def test_the_mildest_severity_that_fails_is_the_policys(severity, fail_on, code):
    report = rehearsal(findings=(finding(severity=severity),))

    assert judge_report(report, policy(fail_on=fail_on)).exit_code == code


@given(FINDINGS, st.sampled_from(["error", "warning", "never"]), st.sets(st.sampled_from("abcd")))
def test_the_code_is_1_just_where_a_finding_that_counts_is_left(findings, fail_on, accepted):
    report = judge_report(rehearsal(findings=findings), policy(fail_on=fail_on), accepted=accepted)

    counting = [
        finding for finding in findings if not finding.ignored and finding.fingerprint not in accepted
    ]
    bad = {"error": ["error"], "warning": ["error", "warning"], "never": []}[fail_on]
    assert report.exit_code == any(item.severity in bad for item in counting)
    assert [finding for finding in report.findings if not finding.ignored] == counting
    assert len(report.findings) == len(findings)


@given(FINDINGS, st.sampled_from("0123"))
def test_what_is_not_newer_than_judge_after_is_reported_and_does_not_count(findings, version):
    report = judge_report(rehearsal(findings=findings), policy(), scope=Scope(after=version))

    assert {finding.migration for finding in report.findings if not finding.ignored} <= {
        name for name in "123" if name > version
    }
    assert len(report.findings) == len(findings)


def test_versions_are_compared_number_by_number():
    old, new = finding(migration="9"), finding(migration="10")

    report = judge_report(rehearsal(findings=(old, new)), policy(), scope=Scope(after="09"))

    assert [finding.ignored for finding in report.findings] == [True, False]


def test_a_file_without_a_version_is_judged_whatever_judge_after_says():
    report = judge_report(rehearsal(findings=(finding(migration=""),)), policy(), scope=Scope(after="5"))

    assert report.exit_code == 1


def test_only_changed_files_are_judged_and_those_whose_companions_changed():
    one, two, three = (finding(migration=name, file=f"{name}_jam.sql") for name in "123")
    scope = Scope(since="main", files=frozenset({"2_jam.sql"}), versions=frozenset({(3,)}))

    report = judge_report(rehearsal(findings=(one, two, three)), policy(), scope=scope)

    assert [finding.ignored for finding in report.findings] == [True, False, False]
    assert report.notes == ("checked only migrations changed since main",)


def test_a_rehearsal_that_failed_keeps_its_code():
    report = judge_report(
        rehearsal(outcome="failed", exit_code=4, findings=(finding(),)), policy(max_duration="1ms")
    )

    assert report.exit_code == 4
    assert report.verdict is None
    assert len(report.findings) == 1


def test_without_the_gate_the_verdict_is_told_and_the_code_stays():
    report = judge_report(rehearsal(findings=(finding(),)), policy(), only_report=True)

    assert report.exit_code == 0
    assert report.verdict is not None
    assert report.verdict.sentence.startswith("gate: would fail (1 error): ")


def test_the_verdict_names_what_failed_and_the_next_step():
    found = (finding(recipe="SELECT 1", line=3), finding("drop-table", line=8), finding("rename", "warning"))

    verdict = judge_report(rehearsal(findings=found), policy()).verdict

    assert verdict is not None
    assert verdict.sentence == (
        "gate: failed (2 errors): index-not-concurrent at migrations/1_jam.sql:3, "
        "drop-table at migrations/1_jam.sql:8"
    )
    assert verdict.next_step is not None
    assert verdict.next_step.startswith(
        'use the SQL under "instead"; or suppress the finding above the statement'
    )


def test_a_limit_is_told_to_be_raised_and_not_to_be_ignored():
    report = judge_report(rehearsal(migration(statement())), policy(max_duration="5ms"))

    assert report.verdict is not None
    assert report.verdict.next_step == "split the migration, or raise the limit: [gate] in confiture.toml"


def test_what_passes_with_warnings_says_so():
    verdict = judge_report(rehearsal(findings=(finding(severity="warning"),)), policy()).verdict

    assert verdict is not None
    assert verdict.sentence == "gate: passed (1 warning)"


def test_a_limit_is_never_accepted():
    over = judge_report(rehearsal(), policy(max_duration="5ms")).findings

    again = judge_report(
        rehearsal(), policy(max_duration="5ms"), accepted={finding.fingerprint for finding in over}
    )

    assert again.exit_code == 1


def test_limits_count_what_is_judged_and_nothing_else():
    report = rehearsal(migration(version="1", duration_ms=900.0), migration(version="2", duration_ms=5.0))

    assert judge_report(report, policy(max_duration="10ms")).exit_code == 1
    assert judge_report(report, policy(max_duration="10ms"), scope=Scope(after="1")).exit_code == 0


def test_files_that_were_only_read_are_not_held_against_limits():
    report = rehearsal(migration(outcome="pending"), server_version=None)

    assert judge_report(report, policy(max_block="1ms", max_wal="1B")).exit_code == 0
