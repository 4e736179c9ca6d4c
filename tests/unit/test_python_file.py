"""A Python file becomes its one ``Migration``, or a fault that names file and line."""

from pathlib import Path

import pytest

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import read_folder
from confiture.migrations.prepare import prepare
from confiture.migrations.python_file import has_down, load_migration

HEAD = "from confiture.models.migration import Migration\n"
UP = "    def up(self):\n        self.execute('SELECT 1')\n"


@pytest.fixture
def load(tmp_path):
    def load_text(text: str, name: str = "007_fill.py"):
        (tmp_path / name).write_text(text)
        (script,) = read_folder(tmp_path)
        return load_migration(script)

    return load_text


def fault(load, text: str, name: str = "007_fill.py") -> MigrationFault:
    with pytest.raises(MigrationFault) as caught:
        load(text, name)
    assert caught.value.file is not None
    assert caught.value.file.name == name
    return caught.value


def test_version_and_name_come_from_the_file_where_absent(load):
    migration = load(HEAD + "class Fill(Migration):\n" + UP)

    assert (migration.version, migration.name) == ("007", "fill")


def test_version_and_name_may_be_repeated_number_by_number(load):
    migration = load(HEAD + "class Fill(Migration):\n    version = '7'\n    name = 'fill'\n" + UP)

    assert (migration.version, migration.name) == ("007", "fill")


@pytest.mark.parametrize("line", ["version = '8'", "version = 7", "version = 'seven'", "name = 'other'"])
def test_version_and_name_must_agree(load, line):
    error = fault(load, HEAD + f"class Fill(Migration):\n    {line}\n" + UP)

    assert "its file name says" in error.message
    assert (error.line, error.source_line) == (2, "class Fill(Migration):")


def test_a_name_in_the_class_serves_where_the_file_has_none(load):
    migration = load(HEAD + "class Fill(Migration):\n    name = 'fill'\n" + UP, "7.py")

    assert (migration.version, migration.name) == ("7", "fill")


def test_up_runs_on_the_connection(load):
    class Connection:
        sent: tuple[str, ...] = ()

        def execute(self, sql, params):
            self.sent += (sql,)

    connection = Connection()

    load(HEAD + "class Fill(Migration):\n" + UP)(connection=connection).up()

    assert connection.sent == ("SELECT 1",)


def test_imported_and_abstract_migrations_do_not_count(load, tmp_path, monkeypatch):
    (tmp_path / "shared_migrations.py").write_text(HEAD + "class Shared(Migration):\n" + UP)
    monkeypatch.syspath_prepend(tmp_path)

    migration = load(
        HEAD + "from shared_migrations import Shared\n"
        "class Template(Migration):\n    lock_timeout = '1s'\n"
        "class Fill(Template):\n" + UP + "Alias = Fill\n"
    )

    assert migration.__name__ == "Fill"
    assert migration.lock_timeout == "1s"


def test_dataclasses_and_postponed_annotations_work(load):
    migration = load(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        + HEAD
        + "@dataclass\nclass Row:\n    key: int\nclass Fill(Migration):\n    row = Row(1)\n"
        + UP
    )

    assert migration.row.key == 1


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("lock_timeout = '5'", "lock_timeout: 5 has no unit; write 5s, 5ms or 5min"),
        ("statement_timeout = 0.5", "statement_timeout: 0.5 has no unit; write 0.5s, 0.5ms or 0.5min"),
        ("lock_timeout = True", "lock_timeout: 'True' is not a time; write 5s, 250ms or 10min"),
    ],
)
def test_a_timeout_that_cannot_be_used_is_refused_before_anything_runs(tmp_path, attribute, message):
    (tmp_path / "1_fill.py").write_text(HEAD + f"class Fill(Migration):\n    {attribute}\n" + UP)

    with pytest.raises(MigrationFault) as caught:
        prepare(read_folder(tmp_path), "forward")

    assert caught.value.message == message
    assert caught.value.file == tmp_path / "1_fill.py"


def test_two_files_with_one_class_name_do_not_meet(tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}_fill.py").write_text(
            HEAD + f"class Fill(Migration):\n    lock_timeout = '{number}s'\n" + UP
        )

    classes = [load_migration(script) for script in read_folder(tmp_path)]

    assert [(migration.version, migration.lock_timeout) for migration in classes] == [
        ("1", "1s"),
        ("2", "2s"),
    ]


def test_nothing_is_left_beside_the_file(load, tmp_path):
    load(HEAD + "class Fill(Migration):\n" + UP)

    assert [path.name for path in tmp_path.iterdir()] == ["007_fill.py"]


def test_the_text_that_was_read_is_what_runs(tmp_path):
    path = tmp_path / "1_fill.py"
    path.write_text(HEAD + "class Fill(Migration):\n" + UP)
    (script,) = read_folder(tmp_path)
    path.write_text("raise RuntimeError('changed since')")

    assert load_migration(script).__name__ == "Fill"


def test_down_is_known_by_its_override(load):
    without = load(HEAD + "class Fill(Migration):\n" + UP)
    with_down = load(HEAD + "class Fill(Migration):\n" + UP + "    def down(self): ...\n")

    assert (has_down(without), has_down(with_down)) == (False, True)


def test_a_syntax_error_names_line_and_column(load):
    error = fault(load, HEAD + "\nx = 'é' +* 2\n")

    assert (error.line, error.column, error.source_line) == (3, 10, "x = 'é' +* 2")
    assert "invalid syntax" in error.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
        ("from . import sibling", "ImportError"),
    ],
)
def test_a_failing_import_names_its_line(load, line, said):
    error = fault(load, f"# first\n{line}\n")

    assert said in error.message
    assert (error.line, error.source_line) == (2, line)


def test_ctrl_c_while_importing_is_no_fault(load):
    with pytest.raises(KeyboardInterrupt):
        load("raise KeyboardInterrupt")


def test_a_file_without_a_migration_is_a_fault(load):
    error = fault(load, "x = 1\n")

    assert "defines no Migration" in error.message
    assert "from confiture.models.migration import Migration" in (error.hint or "")


def test_two_migrations_in_a_file_are_both_named(load):
    error = fault(load, HEAD + "class A(Migration):\n" + UP + "class B(Migration):\n" + UP)

    assert "2 migrations: A (line 2), B (line 5)" in error.message
    assert error.line == 5


def test_a_migration_without_up_is_a_fault(load):
    error = fault(load, HEAD + "class A(Migration):\n    def down(self): ...\n")

    assert "has no up()" in error.message
    assert error.line == 2


def test_each_fault_ends_in_exit_code_4(load):
    assert fault(load, "x = 1\n").exit_code == 4


def test_a_script_outside_the_folder_keeps_its_path_in_tracebacks(load, tmp_path):
    migration = load(HEAD + "class Fill(Migration):\n" + UP)

    assert Path(migration.up.__code__.co_filename) == tmp_path / "007_fill.py"
