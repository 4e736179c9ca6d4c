"""``confiture lint`` and ``confiture rules``, as they are called."""

from __future__ import annotations

import json

import pytest

from tests.project import Project

INDEX = "CREATE INDEX orders_qty ON orders (qty);\n"


@pytest.fixture
def folder(tmp_path):
    """A project that knows no database."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    project = Project(tmp_path / "project")
    yield project
    project.end()


def test_lint_says_where_what_and_what_to_write_instead(folder):
    folder.write("1_index.sql", f"SELECT 1;\n{INDEX}")

    answer = folder("lint")

    assert answer.code == 1
    assert "migrations/1_index.sql:2: error: builds an index on orders while blocking writes" in answer.out
    assert "[index-not-concurrent]" in answer.out
    assert "    CREATE INDEX CONCURRENTLY orders_qty ON orders (qty);" in answer.out
    assert "\n1 file read: 1 error\ngate: failed (1 error): index-not-concurrent at " in answer.out


def test_lint_needs_no_server_and_tells_what_it_could_not_judge(folder):
    folder.url = "postgresql://nowhere.invalid:1/jam"
    folder.write("1_type.sql", "ALTER TABLE orders ALTER COLUMN qty TYPE bigint;\n")

    answer = folder("lint")

    assert answer.code == 0
    assert (
        "only a dry-run can check: change-type-index-rebuild, change-type-recheck, change-type-rewrite\n"
        in answer.out
    )
    assert answer.out.endswith("1 file read, nothing found\n")


def test_lint_reads_the_files_that_are_named(folder):
    folder.write("1_index.sql", INDEX)
    folder.write("2_fine.sql", "SELECT 1;\n")
    (folder.folder / "loose.sql").write_text("DROP TABLE orders;\n")

    answer = folder("lint", "loose.sql", "migrations/2_fine.sql", "--output", "json")

    assert answer.code == 0
    assert [(item["rule"], item["file"], item["line"]) for item in answer.json["findings"]] == [
        ("drop-table", "loose.sql", 1)
    ]
    assert answer.json["mode"] == "dry-run"
    assert answer.json["server_version"] is None
    assert [item["outcome"] for item in answer.json["migrations"]] == ["pending", "pending"]


def test_lint_reports_what_run_would_refuse_as_findings_too(folder):
    folder.write("1_index.sql", "BEGIN;\nCREATE INDEX CONCURRENTLY i ON orders (qty);\nROLLBACK;\n")

    answer = folder("lint", "--output", "json")

    assert answer.code == 1
    assert [(item["rule"], item["line"]) for item in answer.json["findings"]] == [
        ("transaction-control-in-migration", 1),
        ("concurrently-in-transaction", 2),
        ("transaction-control-in-migration", 3),
    ]


@pytest.mark.parametrize("named", ["empty", "notes", "migrations empty"])
def test_nothing_to_check_is_two_and_never_a_pass(folder, named):
    """A folder that was renamed must not make a pipeline green."""
    folder.write("1_index.sql", "SELECT 1;\n")
    for name in ("empty", "notes"):
        (folder.folder / name).mkdir()
    (folder.folder / "notes" / "README.md").write_text("none")

    answer = folder("lint", *named.split())

    assert answer.code == 2
    assert "no migrations in" in answer.err
    assert "nothing found" not in answer.out
    assert folder("lint", *named.split(), "--allow-empty").code == 0


def test_a_folder_that_is_named_is_read_as_a_run_reads_it(folder):
    folder.write("10_b.sql", INDEX)
    folder.write("2_a.up.sql", INDEX)
    folder.write("2_a.down.sql", "DROP INDEX orders_qty;")

    found = folder("lint", "migrations", "--output", "json").json

    assert [item["version"] for item in found["migrations"]] == ["2", "10"]
    folder.write("3x.sql", INDEX)
    assert folder("lint", "migrations").code == 4


def test_a_down_file_that_is_named_is_checked_by_itself(folder):
    folder.write("2_a.up.sql", "SELECT 1;")
    folder.write("2_a.down.sql", f"-- migrate:down\n{INDEX}")

    answer = folder("lint", "migrations/2_a.down.sql")

    assert answer.code == 1
    assert "migrations/2_a.down.sql:2: error: builds an index" in answer.out


def test_a_syntax_error_is_a_faulty_migration(folder):
    folder.write("1_index.sql", "CREATE INDX i;\n")

    answer = folder("lint", "--output", "json")

    assert answer.code == 4
    assert "migrations/1_index.sql:1:8" in answer.err
    assert (answer.json["outcome"], answer.json["exit_code"]) == ("refused", 4)


def test_no_file_is_an_error_unless_allowed(folder):
    answer, allowed = folder("lint"), folder("lint", "--allow-empty")

    assert (answer.code, allowed.code) == (2, 0)


def test_a_file_that_is_not_there_is_an_error(folder):
    answer = folder("lint", "nowhere.sql")

    assert answer.code == 4
    assert "nowhere.sql cannot be read: No such file or directory" in answer.err


def test_the_constant_sql_of_a_python_migration_is_read(folder):
    folder.write(
        "1_index.py",
        "from confiture.models.migration import Migration\n\n\n"
        "class Index(Migration):\n"
        "    def up(self):\n"
        "        name = 'orders'\n"
        "        self.execute('CREATE INDEX i ON orders (qty)')\n"
        "        self.execute(f'CREATE INDEX j ON {name} (qty)')\n"
        "        raise SystemExit('never run by lint')\n",
    )

    answer = folder("lint", "--output", "json")

    assert [(item["rule"], item["line"]) for item in answer.json["findings"]] == [("index-not-concurrent", 7)]


def test_a_warning_does_not_fail(folder):
    folder.write("1_drop.sql", "DROP TABLE orders;\n")

    answer = folder("lint")

    assert answer.code == 0
    assert answer.out.endswith("1 file read: 1 warning\n")


def test_names_in_findings_cannot_command_the_terminal(folder):
    folder.write("1_drop.sql", 'DROP TABLE "a\x1b[2Jb";\n')

    answer = folder("lint")

    assert "\x1b" not in answer.out


def test_rules_lists_every_rule_in_a_line(folder):
    answer, machine = folder("rules"), folder("rules", "--output", "json")

    names = [item["rule"] for item in machine.json["rules"]]
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == names
    assert len(names) == len(set(names)) > 60


def test_rules_explains_one_with_an_example(folder):
    answer = folder("rules", "add-check-validated")

    assert answer.code == 0
    assert "ALTER TABLE orders ADD CHECK (qty > 0);" in answer.out
    assert "ALTER TABLE orders VALIDATE CONSTRAINT orders_qty_check;" in answer.out


def test_an_unknown_rule_is_told_the_nearest(folder):
    answer = folder("rules", "add-check-valid")

    assert answer.code == 2
    assert "did you mean 'add-check-validated'?" in answer.err


def test_a_plugin_of_rules_only_is_a_plugin(folder):
    folder.install(
        "jam",
        "from confiture import hookimpl\nfrom confiture.rules.rule import Hit, Rule\n\n\n"
        "def hits(piece):\n    yield Hit('drops the jam')\n\n\n"
        "@hookimpl\ndef rules():\n"
        "    return [Rule('jam-dropped', 'error', 'static', 'jam', 'drops', 'none is left', check=hits,"
        " kinds=('drop_stmt',))]\n",
    )
    folder.write("1_drop.sql", "DROP TABLE orders;\n")

    listed, answer = folder("plugins"), folder("lint", "--plugins", "jam", "--output", "json")

    assert "rules" in listed.out
    assert answer.code == 1
    assert [item["rule"] for item in answer.json["findings"]] == ["drop-table", "jam-dropped"]


@pytest.mark.parametrize(
    "body,said",
    [
        ("    raise ValueError('burnt')\n", "rules() failed with ValueError: burnt"),
        ("    return ['jam']\n", "rules() returns a str among its rules"),
        (
            "    return [Rule('drop-table', 'error', 'static', 'a', 'b', 'c')]\n",
            "is already used by 'confiture'",
        ),
    ],
)
def test_a_plugin_with_broken_rules_is_named(body, said, folder):
    folder.install(
        "jam",
        f"from confiture import hookimpl\nfrom confiture.rules.rule import Rule\n\n\n@hookimpl\ndef rules():\n{body}",
    )
    folder.write("1_drop.sql", "DROP TABLE orders;\n")

    answer = folder("lint", "--plugins", "jam")

    assert answer.code == 2
    assert said in answer.err


def test_a_rule_that_fails_is_named_with_the_place(folder):
    folder.install(
        "jam",
        "from confiture import hookimpl\nfrom confiture.rules.rule import Rule\n\n\n"
        "@hookimpl\ndef rules():\n"
        "    return [Rule('jam-burnt', 'error', 'static', 'a', 'b', 'c', check=lambda piece: [1 / 0])]\n",
    )
    folder.write("1_drop.sql", "DROP TABLE orders;\n")

    answer = folder("lint", "--plugins", "jam")

    assert answer.code == 2
    said = "the rule jam-burnt of plugin 'jam' failed at migrations/1_drop.sql:1 with ZeroDivisionError"
    assert said in answer.err
    assert "jam.py:7)" in answer.err


def test_the_schema_of_the_rules_has_no_other_keys(folder):
    answer = folder("rules", "drop-table", "--output", "json")

    (rule,) = json.loads(answer.out)["rules"]
    assert list(rule) == [
        "rule", "severity", "by", "summary", "does", "hurts", "schema", "example", "recipe", "way", "differs", "files",
    ]  # fmt: skip
