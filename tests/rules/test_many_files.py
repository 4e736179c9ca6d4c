"""Many files are shared out among processes, and nobody can tell from the report."""

from __future__ import annotations

import os

import pytest
from attrs import evolve

from confiture.exceptions import MigrationFaults
from confiture.rules.lint import lint
from confiture.rules.parallel import FEWEST_FILES

MANY = FEWEST_FILES * 3


@pytest.fixture
def many(files, monkeypatch):
    """More files than one process is to read, on a machine with several."""
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    for number in range(MANY):
        (files.migrations / f"{number:04}_step.sql").write_text(f"CREATE INDEX i ON t{number} (x);\n")
    return files


def test_the_findings_are_those_of_one_process_in_the_order_of_the_files(many, monkeypatch):
    shared = lint(many.settings())
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    alone = lint(many.settings())

    assert shared == evolve(alone)
    assert [finding.relation for finding in shared.findings] == [f"t{number}" for number in range(MANY)]


def test_faults_of_all_processes_are_told_together(many):
    for number in (1, MANY - 1):
        (many.migrations / f"{number:04}_step.sql").write_text("CREATE INDX;\n")

    with pytest.raises(MigrationFaults) as caught:
        lint(many.settings())

    assert [(fault.file and fault.file.name, fault.line) for fault in caught.value.faults] == [
        ("0001_step.sql", 1),
        (f"{MANY - 1:04}_step.sql", 1),
    ]
