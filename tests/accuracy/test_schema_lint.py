"""``lint --schema`` finds every seeded fault of a large application, and next to nothing else."""

from __future__ import annotations

import pytest

from tests.accuracy.schema_lint import apply_files, compare_findings, compute_figures, lint_application
from tests.application.project import list_expected, list_files, write_project


def test_the_application_is_as_large_as_it_is_said_to_be():
    files = list_files()

    assert 1_200 <= len(files) <= 1_300
    assert sum("CREATE TABLE" in file.sql or "CREATE UNLOGGED" in file.sql for file in files) > 150
    assert {file.folder for file in files} == {"00_common", "01_write_side", "02_query_side", "03_functions"}


@pytest.mark.slow
def test_every_seeded_fault_is_found_and_next_to_nothing_else(tmp_path, database_url):
    apply_files(database_url, write_project(tmp_path))

    judgement = compare_findings(list_expected(), lint_application(tmp_path, database_url))

    wrong = [*judgement.missed, *(finding.message for finding in judgement.false)]
    assert [figure.name for figure in compute_figures(judgement) if not figure.good] == [], wrong


@pytest.mark.slow
def test_the_application_without_seeds_has_only_what_its_migrations_leave_out(tmp_path, database_url):
    apply_files(database_url, write_project(tmp_path, seeded=False))

    found = lint_application(tmp_path, database_url)

    assert {finding.rule for finding in found} == {"cqrs-refill"}
