"""``confiture stats export`` on the command line."""

import pytest

from confiture.estimate.statistics_file import load_statistics

pytestmark = pytest.mark.slow


def test_stdout_takes_the_file_and_nothing_else(project):
    answer = project("stats", "export")

    assert answer.code == 0
    assert answer.json["stats_version"] == 1
    assert answer.err == ""


def test_a_file_that_output_names_can_be_read(project):
    answer = project("stats", "export", "-q", "--output", "json=production.json")

    assert (answer.code, answer.out) == (0, "")
    assert load_statistics(project.folder / "production.json").relations == {}


def test_a_server_that_is_not_there_is_an_exit_of_3(folder):
    answer = folder("stats", "export", "--url", "postgresql://localhost:1/none")

    assert answer.code == 3
    assert answer.out == ""
