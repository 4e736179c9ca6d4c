"""``confiture accept``: what there is fails the gate no more; what is new does."""

from __future__ import annotations

import json

import pytest

from confiture.gate import ACCEPTED_FILE as FILE
from tests.project import Project

pytestmark = pytest.mark.slow

INDEX = "CREATE INDEX orders_day ON orders (day);\n"
TABLE = "CREATE TABLE orders (id int PRIMARY KEY, day date);\n"


@pytest.fixture
def old(folder: Project) -> Project:
    """A project with a dangerous migration, and no server."""
    folder.write("1_orders.sql", TABLE)
    folder.write("2_day.sql", INDEX)
    return folder


def rules(project: Project) -> list[tuple[str, str]]:
    """Return what the file holds."""
    entries = json.loads((project.folder / FILE).read_text())["accepted"]
    return [(entry["file"], entry["rule"]) for entry in entries]


def test_what_is_accepted_does_not_fail_the_gate_and_is_marked(old):
    assert old("lint").code == 1

    assert old("accept", "--static").code == 0

    lint = old("lint", "--output", "json")
    assert lint.code == 0
    assert [item["ignored"] for item in lint.json["findings"] if item["rule"] == "index-not-concurrent"] == [
        True
    ]
    assert ("migrations/2_day.sql", "index-not-concurrent") in rules(old)


def test_it_stays_accepted_when_its_line_moves(old):
    old("accept", "--static")
    old.write("2_day.sql", f"-- Days.\n\n{INDEX}")

    assert old("lint").code == 0


def test_a_changed_statement_is_a_new_finding(old):
    old("accept", "--static")
    old.write("2_day.sql", INDEX.replace("(day)", "(day, id)"))

    assert old("lint").code == 1


def test_the_file_does_not_grow_unasked(old):
    old("accept", "--static")
    before = (old.folder / FILE).read_text()
    old.write("3_again.sql", INDEX.replace("orders_day", "again"))

    refused = old("accept", "--static")

    assert refused.code == 1
    assert f"not accepted: {FILE} may only shrink" in refused.out
    assert "confiture accept --add" in refused.out
    assert (old.folder / FILE).read_text() == before
    assert old("accept", "--static", "--add").code == 0
    assert old("lint").code == 0


def test_what_is_gone_is_dropped_when_asked(old):
    old("accept", "--static")
    before = rules(old)
    old.write("2_day.sql", "SELECT 1;\n")

    assert "no longer found: remove them with confiture accept --prune" in old("accept", "--static").out
    assert rules(old) == before
    assert old("accept", "--static", "--prune").code == 0
    assert ("migrations/2_day.sql", "index-not-concurrent") not in rules(old)


def test_the_file_is_sorted_and_accepting_twice_changes_nothing(old):
    old.write("0_first.sql", "CREATE TABLE jam (id int);\nCREATE TABLE fig (id int);\nDROP TABLE jam, fig;\n")
    old("accept", "--static")
    before = (old.folder / FILE).read_text()

    old("accept", "--static", "--add", "--prune")

    assert (old.folder / FILE).read_text() == before
    assert rules(old) == sorted(rules(old))


def test_nothing_found_writes_no_file(folder):
    folder.write("1_jam.sql", "SELECT 1;\n")

    assert folder("accept", "--static").code == 0
    assert not (folder.folder / FILE).exists()


@pytest.mark.parametrize("command", [("lint",), ("accept", "--static")])
def test_a_broken_file_is_refused_with_its_place(old, command):
    (old.folder / FILE).write_text('{\n  "accepted": [\n=======\n  ]\n}\n')

    answer = old(*command)

    assert answer.code == 2
    assert f"{FILE}:3:1: this is not JSON" in answer.err


def test_a_file_that_cannot_be_written_is_a_fault(old):
    (old.folder / FILE).symlink_to(old.folder / "nowhere" / "else.json")

    answer = old("accept", "--static")

    assert answer.code == 2
    assert f"{FILE} cannot be written: No such file or directory" in answer.err


class TestRehearsed:
    """What a rehearsal finds."""

    @pytest.fixture
    def orders(self, project, database) -> Project:
        """A table with rows, an old migration that blocks it and is pending, and one that rewrites it."""
        database.execute(TABLE)
        database.execute("INSERT INTO orders SELECT n, '2026-01-01' FROM generate_series(1, 2000) AS n")
        project.write("2_day.sql", INDEX)
        project.write("3_id.sql", "ALTER TABLE orders ALTER id TYPE bigint;\n")
        return project

    def test_what_only_a_rehearsal_finds_is_accepted_too(self, orders):
        assert orders("dry-run").code == 1

        accepted = orders("accept", "--output", "json")

        assert (accepted.code, accepted.json["exit_code"]) == (0, 0)
        assert ("migrations/3_id.sql", "change-type-rewrite") in rules(orders)
        assert orders("dry-run").code == 0
        assert orders("run", "--gate").code == 0

    def test_what_was_applied_meanwhile_stays_accepted_since_nobody_looked(self, orders):
        orders("accept")
        before = rules(orders)
        orders("run")

        assert orders("accept", "--prune").code == 0
        assert rules(orders) == before

    def test_reading_the_files_does_not_drop_what_only_a_rehearsal_finds(self, orders):
        orders("accept")

        assert orders("accept", "--static", "--prune").code == 0
        assert ("migrations/3_id.sql", "change-type-rewrite") in rules(orders)

    def test_a_file_that_is_gone_takes_its_findings_along(self, orders):
        orders("accept")
        (orders.migrations / "3_id.sql").unlink()

        orders("accept", "--static", "--prune")

        assert {file for file, _ in rules(orders)} == {"migrations/2_day.sql"}

    def test_a_rehearsal_that_fails_accepts_nothing(self, orders):
        orders.write("4_typo.sql", "ALTER TABLE nowhere ADD a int;\n")

        assert orders("accept").code == 4
        assert not (orders.folder / FILE).exists()

    def test_a_limit_is_not_accepted(self, orders):
        orders.configure('[gate]\nmax_rewritten = "1kB"\n')
        orders("accept")

        assert "limit-rewritten" not in {rule for _, rule in rules(orders)}
        assert orders("dry-run").code == 1
