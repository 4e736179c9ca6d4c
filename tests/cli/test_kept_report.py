"""Once something has run its report is never lost, whatever fails in what follows."""

from __future__ import annotations

from typing import Any

import pytest

from confiture.api import execution, kept_report
from confiture.api.operations import run
from confiture.exceptions import Interrupted, PluginFault
from tests import published
from tests.project import Project


@pytest.fixture
def shop(project: Project) -> Project:
    """Two migrations."""
    project.write("1_jam.sql", "CREATE TABLE jam ()")
    project.write("2_fig.sql", "CREATE TABLE fig ()")
    return project


@pytest.mark.parametrize(
    "error, code, message",
    [
        (PluginFault("a rule is broken"), 2, "a rule is broken"),
        (TypeError("of ours"), 4, "TypeError: of ours"),
        (Interrupted(130), 130, "interrupted"),
    ],
)
def test_an_error_after_the_last_migration_is_added_to_the_report(shop, error, code, message):
    def judge(*_: object) -> Any:
        raise error

    report = run(shop.settings(), judge=judge)

    assert [migration.outcome for migration in report.migrations] == ["applied", "applied"]
    assert (report.outcome, report.exit_code) == ("failed", code)
    assert report.error
    assert report.error.message == message


def test_an_error_between_two_migrations_is_added_to_the_report(shop):
    def report_progress(line: str) -> None:
        raise OSError(f"a broken terminal: {line.split(':')[0]}")

    report = run(shop.settings(), on_progress=report_progress)

    assert [migration.outcome for migration in report.migrations] == ["applied", "pending"]
    assert report.exit_code == 4
    assert report.error
    assert report.error.message == "OSError: a broken terminal: 1 jam"
    assert shop.states() == {"1": "applied", "2": "pending"}


def test_the_first_failure_keeps_its_code(shop):
    shop.write("2_fig.sql", "SELECT 1/0")
    report = run(shop.settings())

    later = kept_report.add_error(report, PluginFault("a rule is broken"))

    assert later.exit_code == 4
    assert later.error
    assert later.error.message == "a rule is broken"


def test_before_the_first_migration_an_error_is_raised(shop):
    settings = shop.settings()
    executor = execution.Executor(settings, "run", lambda *_: 1 / 0, (), print)  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError):
        executor.execute()


def test_a_file_of_accepted_findings_that_cannot_be_read_leaves_the_rehearsal(shop):
    from confiture.gate import ACCEPTED_FILE

    (shop.folder / ACCEPTED_FILE).write_text("what = [")

    answer = shop("dry-run", "--output", "json")

    document = published.read(answer.out)
    assert answer.code == document["exit_code"] == 2
    assert [migration["outcome"] for migration in document["migrations"]] == ["rehearsed", "rehearsed"]
    assert ACCEPTED_FILE in document["error"]["message"]
    assert ACCEPTED_FILE in answer.err
