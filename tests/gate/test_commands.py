"""``dry-run`` judges and exits 1, ``run --gate`` applies nothing that the gate refuses."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.gate.test_changes import commit
from tests.project import Project, applied, tables

pytestmark = pytest.mark.slow

INDEX = "CREATE INDEX orders_day ON orders (day);\n"
REWRITE = "ALTER TABLE orders ALTER id TYPE bigint;\n"


@pytest.fixture
def orders(database):
    """A table with rows, which is there before the first migration."""
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, day date)")
    database.execute("INSERT INTO orders SELECT n, '2026-01-01' FROM generate_series(1, 5000) AS n")
    return database


def failing(report: dict[str, Any]) -> list[tuple[str, str, int | None]]:
    """Return the findings that count, with their places."""
    return [(item["rule"], item["file"], item["line"]) for item in report["findings"] if not item["ignored"]]


def errors(report: dict[str, Any]) -> list[tuple[str, str, int | None]]:
    """Return those of them that are errors."""
    bad = [item for item in report["findings"] if item["severity"] == "error"]
    return failing({"findings": bad})


class TestRehearsal:
    """``confiture dry-run``."""

    def test_a_long_block_fails_the_gate_with_its_place_and_the_next_step(self, project, orders):
        project.write("1_day.sql", f"\n{INDEX}")

        answer = project("dry-run")

        assert answer.code == 1
        assert answer.out.splitlines()[-2:] == [
            "gate: failed (1 error): index-not-concurrent at migrations/1_day.sql:2",
            'next: use the SQL under "instead"; or suppress the finding above the statement: '
            '-- confiture: ignore index-not-concurrent reason="…"',
        ]

    def test_run_dry_run_is_the_same(self, project, orders):
        project.write("1_day.sql", INDEX)

        assert project("run", "--dry-run").code == 1
        assert project("run", "--dry-run", "--no-gate").code == 0

    def test_what_is_safe_passes(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")

        answer = project("dry-run")

        assert answer.code == 0
        assert "\ngate: passed" in answer.out

    def test_the_report_says_that_a_rehearsal_went_well_and_the_gate_said_no(self, project, orders):
        project.write("1_day.sql", INDEX)

        answer = project(
            "dry-run", "--output", "json", "--output", "junit=out.xml", "--output", "text=out.txt"
        )

        assert answer.code == 1
        assert (answer.json["outcome"], answer.json["exit_code"]) == ("ok", 1)
        assert ElementTree.parse(project.folder / "out.xml").findall(".//failure")
        assert "gate: failed" in (project.folder / "out.txt").read_text()

    def test_without_the_gate_it_only_reports(self, project, orders):
        project.write("1_day.sql", INDEX)

        answer = project("dry-run", "--no-gate", "--output", "json")

        assert (answer.code, answer.json["exit_code"]) == (0, 0)
        assert errors(answer.json) == [("index-not-concurrent", "migrations/1_day.sql", 1)]
        assert "\ngate: would fail (1 error)" in project("dry-run", "--no-gate").out

    def test_what_fails_fails_with_its_own_code(self, project, orders):
        project.write("1_day.sql", INDEX)
        project.write("2_typo.sql", "ALTER TABLE nowhere ADD a int;\n")

        answer = project("dry-run", "--output", "json")

        assert (answer.code, answer.json["exit_code"]) == (4, 4)
        assert "the gate" not in project("dry-run").out

    def test_an_ignored_finding_passes_and_with_strict_needs_a_reason(self, project, orders):
        project.write("1_day.sql", f"-- confiture: ignore index-not-concurrent\n{INDEX}")

        plain, strict = project("dry-run"), project("dry-run", "--strict", "--output", "json")

        assert (plain.code, strict.code) == (0, 1)
        assert [error[0] for error in errors(strict.json)] == ["ignore-without-reason"]

    def test_a_severity_of_ones_own_changes_what_fails(self, project, orders):
        project.write("1_day.sql", INDEX)
        project.configure('[gate]\nseverity = { index-not-concurrent = "warning" }\n')
        assert project("dry-run").code == 0

        project.configure('[gate]\nfail_on = "warning"\nseverity = { index-not-concurrent = "warning" }\n')
        assert project("dry-run").code == 1

    def test_a_severity_of_a_rule_that_there_is_not_is_refused(self, project, orders):
        project.write("1_day.sql", INDEX)
        project.configure('[gate]\nseverity = { index-not-concurent = "off" }\n')

        answer = project("dry-run")

        assert answer.code == 2
        assert "did you mean 'index-not-concurrent'" in answer.err

    def test_nothing_to_do_passes(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        project("run")

        answer = project("dry-run")

        assert (answer.code, answer.out) == (0, "nothing to do\n")

    def test_an_empty_folder_is_an_error_unless_that_is_allowed(self, project, orders):
        project.migrations.mkdir()

        assert project("dry-run").code == 2
        assert project("dry-run", "--allow-empty").code == 0

    def test_older_migrations_are_rehearsed_and_not_judged(self, project, orders):
        project.write("0001_day.sql", INDEX)
        project.write("0002_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        project.configure('[gate]\njudge_after = "1"\n')

        answer = project("dry-run", "--output", "json")

        assert answer.code == 0
        assert [item["outcome"] for item in answer.json["migrations"]] == ["rehearsed"] * 2
        assert [item["rule"] for item in answer.json["findings"] if item["migration"] == "0001"]
        assert errors(answer.json) == []

    def test_since_judges_what_changed_in_git(self, repository, project, orders, git):
        project.write("0001_orders.sql", INDEX)
        commit(git)
        git("branch", "--quiet", "--force", "main")
        project.write("0002_id.sql", REWRITE)

        answer = project("dry-run", "--since", "main", "--output", "json")

        assert answer.code == 1
        assert {each[1] for each in failing(answer.json)} == {"migrations/0002_id.sql"}
        assert len(answer.json["migrations"]) == 2

    def test_since_a_commit_that_there_is_not_ends_before_anything_runs(self, repository, project):
        answer = project("dry-run", "--since", "nowhere", "--output", "json=out.json")

        assert answer.code == 2
        assert '"refused"' in (project.folder / "out.json").read_text()


class TestLimits:
    """Limits on what was measured."""

    def test_bytes_rewritten_are_those_of_the_new_files(self, project, orders):
        project.write("1_id.sql", f"SET LOCAL statement_timeout = 0;\n{REWRITE}")

        report = project("dry-run", "--output", "json").json

        setting, rewriting = report["migrations"][0]["statements"]
        (size,) = orders.execute("SELECT pg_total_relation_size('orders')").fetchone()
        assert "rewritten_bytes" not in setting
        assert rewriting["rewrites"] == ["public.orders"]
        assert size / 2 < rewriting["rewritten_bytes"] < size * 2

    @pytest.mark.parametrize(
        ("limit", "rule"),
        [
            ('max_rewritten = "100kB"', "limit-rewritten"),
            ('max_wal = "100kB"', "limit-wal"),
            ('max_block = "1us"', "limit-block"),
            ('max_duration = "1us"', "limit-duration"),
            ('max_block_of = { "public.orders" = "1us" }', "limit-block"),
        ],
    )
    def test_what_exceeds_a_limit_is_a_finding_at_its_line(self, project, orders, limit, rule):
        project.write("1_id.sql", f"-- Larger numbers.\n\n{REWRITE}")
        project.configure(f'[gate]\nseverity = {{ change-type-rewrite = "warning" }}\n{limit}\n')

        answer = project("dry-run", "--output", "json")

        assert answer.code == 1
        assert errors(answer.json) == [(rule, "migrations/1_id.sql", 3)]

    def test_what_stays_below_every_limit_passes(self, project, orders):
        project.write("1_jam.sql", "ALTER TABLE orders ADD note text;\n")
        project.configure(
            '[gate]\nmax_rewritten = "0"\nmax_wal = "1GB"\nmax_block = "1h"\nmax_duration = "1h"\n'
            'max_hook_duration = "1h"\n'
        )

        assert project("dry-run").code == 0

    def test_truncate_writes_next_to_nothing_anew(self, project, orders):
        project.write("1_empty.sql", "TRUNCATE orders;\n")
        project.configure('[gate]\nfail_on = "error"\nmax_rewritten = "50kB"\n')

        answer = project("dry-run", "--output", "json")

        assert "limit-rewritten" not in {each[0] for each in failing(answer.json)}

    def test_a_hooks_rewrite_and_wal_count(self, project, orders):
        project.install(
            "jam",
            "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n"
            "    conn.execute('ALTER TABLE orders ALTER id TYPE bigint')\n",
        )
        project.write("1_note.sql", "ALTER TABLE orders ADD note text;\n")
        project.configure('[gate]\nmax_rewritten = "1TB"\nmax_wal = "100kB"\n')

        answer = project("dry-run", "--plugins", "jam", "--output", "json")

        found = {item["rule"]: item["message"] for item in answer.json["findings"] if not item["ignored"]}
        assert "the size of the rewritten public.orders was not measured" in found["limit-rewritten"]
        assert "the write-ahead log grew by" in found["limit-wal"]

    def test_a_slow_hook_exceeds_its_limit(self, project, orders):
        project.install(
            "jam",
            "from confiture import hookimpl\n\n\n@hookimpl\ndef cleanup(conn):\n"
            "    conn.execute('SELECT pg_sleep(0.05)')\n",
        )
        project.write("1_note.sql", "ALTER TABLE orders ADD note text;\n")
        project.configure('[gate]\nmax_hook_duration = "50ms"\n')

        answer = project("dry-run", "--plugins", "jam")

        assert answer.code == 1
        assert "hook jam cleanup" in answer.out

    def test_what_cannot_be_rehearsed_fails_a_limit_and_says_so(self, project, orders):
        project.write(
            "1_day.sql", f"-- confiture: no-transaction\n{INDEX.replace('INDEX', 'INDEX CONCURRENTLY')}"
        )
        assert project("dry-run").code == 0
        project.configure('[gate]\nmax_block = "1h"\n')

        answer = project("dry-run")

        assert answer.code == 1
        assert "cannot check max_block = 1h (unknown counts as exceeded)" in answer.out

    def test_a_copy_without_rows_shows_nothing_of_how_long_it_takes(self, project, orders):
        project.write("1_note.sql", "ALTER TABLE orders ADD note text;\n")
        project.configure('[gate]\nmax_block = "1h"\n')

        answer = project("dry-run", "--in", "embedded")

        assert answer.code == 1
        assert "--sample ROWS copies some" in answer.out

    def test_an_unknown_estimate_fails_its_limit(self, project, orders):
        project.write("1_note.sql", "ALTER TABLE orders ADD note text;\n")
        project.configure('[gate]\nmax_estimated = "1h"\n')

        assert project("dry-run").code == 1

    def test_limits_are_not_for_files_that_are_only_read(self, folder: Project):
        folder.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        folder.configure('[gate]\nmax_block = "1us"\nmax_estimated = "1us"\n')

        assert folder("lint").code == 0


class TestRun:
    """``confiture run --gate``."""

    def test_what_the_gate_refuses_is_not_applied(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        project.write("2_day.sql", INDEX)

        answer = project("run", "--gate", "--output", "json")

        assert (answer.code, answer.json["exit_code"], answer.json["mode"]) == (1, 1, "dry-run")
        assert tables(orders) == ["public.orders"]
        assert "nothing was applied" in project("run", "--gate").out

    def test_what_it_lets_pass_is_applied(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")

        answer = project("run", "--gate", "--output", "json")

        assert (answer.code, answer.json["mode"]) == (0, "run")
        assert [item["outcome"] for item in answer.json["migrations"]] == ["applied"]
        assert applied(orders) == ["1"]

    def test_a_plain_run_judges_nothing(self, project, orders):
        project.write("1_day.sql", INDEX)

        assert project("run").code == 0
        assert applied(orders) == ["1"]

    def test_a_rehearsal_that_fails_ends_with_its_code(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        project.write("2_typo.sql", "ALTER TABLE nowhere ADD a int;\n")

        assert project("run", "--gate").code == 4
        assert tables(orders) == ["public.orders"]

    def test_it_goes_no_further_than_to(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        project.write("2_day.sql", INDEX)

        assert project("run", "--gate", "--to", "1").code == 0
        assert applied(orders) == ["1"]

    def test_a_migration_that_changed_while_it_was_rehearsed_is_not_applied(self, project, orders):
        project.install(
            "jam",
            "from pathlib import Path\nfrom confiture import hookimpl\n\n\n@hookimpl\ndef cleanup(conn):\n"
            "    Path('migrations/1_jam.sql').write_text('DROP TABLE orders')\n",
        )
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")

        answer = project("run", "--gate", "--plugins", "jam")

        assert answer.code == 2
        assert "the migrations changed during the rehearsal: nothing was applied" in answer.err
        assert tables(orders) == ["public.orders"]

    def test_nothing_to_do_is_done(self, project, orders):
        project.write("1_jam.sql", "CREATE TABLE jam (id int PRIMARY KEY);\n")
        project("run")

        answer = project("run", "--gate", "--output", "json")

        assert (answer.code, answer.json["mode"], answer.json["migrations"]) == (0, "run", [])

    @pytest.mark.parametrize(
        "flags",
        [("--since", "main"), ("--strict",), ("--no-gate",), ("--allow-empty",), ("--gate", "--no-gate")],
    )
    def test_flags_of_the_gate_need_the_gate(self, project, flags):
        answer = project("run", *flags)

        assert answer.code == 2
        assert "gate" in answer.err
