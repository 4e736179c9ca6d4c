"""A folder becomes scripts in order; every faulty file is named at once."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from confiture.exceptions import MigrationFault, MigrationFaults, SourceFault
from confiture.migrations.folder import read_folder, read_text
from confiture.migrations.prepare import prepare


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def add(folder: Path, name: str, content: str | bytes = "SELECT 1;\n") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_migrations_come_oldest_first(folder):
    for name in ("10_c.sql", "2_b.py", "1_a.up.sql", "03.04_d.sql"):
        add(folder, name)

    scripts = read_folder(folder)

    assert [(script.version, script.name, script.kind) for script in scripts] == [
        ("1", "a", "sql"),
        ("2", "b", "python"),
        ("03.04", "d", "sql"),
        ("10", "c", "sql"),
    ]


def test_up_and_down_are_one_migration(folder):
    up, down = add(folder, "1_a.up.sql"), add(folder, "1_a.down.sql", "SELECT 2;")

    (script,) = read_folder(folder)

    assert (script.path, script.down_path, script.down_text) == (up, down, "SELECT 2;")


def test_what_is_not_a_migration_is_not_read(folder):
    (folder / "2_folder.sql").mkdir()
    (folder / "archive").mkdir()
    add(folder / "archive", "3_old.sql")
    for name in ("__init__.py", "README.md", "1_notes.txt", "1_a.check.sql", "9_z.backfill.sql", "seed.sql"):
        add(folder, name, b"\xff\0")
    add(folder, "1_a.sql")

    scripts = read_folder(folder)

    assert [script.path.name for script in scripts] == ["1_a.sql"]


@pytest.mark.parametrize("content", [b"SELECT 1;\nSELECT 2;\n", b"\xef\xbb\xbfSELECT 1;\r\nSELECT 2;\r\n"])
def test_bom_and_crlf_change_neither_text_nor_checksum(folder, content):
    add(folder, "1_a.sql", content)

    (script,) = read_folder(folder)

    assert script.text == "SELECT 1;\nSELECT 2;\n"
    assert script.checksum == hashlib.sha256(b"SELECT 1;\nSELECT 2;\n").hexdigest()


@pytest.mark.parametrize(
    "name", ["it's", 'a"b', "50%", "two\nlines", "naïve ☃", "; DROP TABLE x; --", "$(id)"]
)
def test_hostile_names_are_names(folder, name):
    add(folder, f"1_{name}.sql")

    (script,) = read_folder(folder)

    assert script.name == name


def test_a_link_to_a_file_is_that_file(folder, tmp_path_factory):
    target = add(tmp_path_factory.mktemp("elsewhere"), "text", "SELECT 'é';")
    (folder / "1_a.sql").symlink_to(target)

    (script,) = read_folder(folder)

    assert script.text == "SELECT 'é';"


def test_no_folder_is_a_source_fault(folder):
    with pytest.raises(SourceFault, match=r"no migrations folder .*nowhere") as caught:
        read_folder(folder / "nowhere")

    assert caught.value.exit_code == 2
    assert "confiture init" in (caught.value.hint or "")


def test_an_empty_folder_is_a_source_fault(folder):
    with pytest.raises(SourceFault, match="no migrations in") as caught:
        read_folder(folder)

    assert "confiture new NAME" in (caught.value.hint or "")


def test_a_file_in_place_of_the_folder_is_a_source_fault(folder):
    with pytest.raises(SourceFault, match="is not a folder"):
        read_folder(add(folder, "1_a.sql"))


@pytest.mark.parametrize(
    "names",
    [
        ("1_a.sql", "001_b.sql"),
        ("1_a.sql", "1_a.up.sql"),
        ("1_a.py", "1_a.sql"),
        ("1.2_a.sql", "1_2_b.sql"),
        ("1_a.up.sql", "1_b.up.sql"),
    ],
)
def test_two_files_of_one_version_are_both_named(folder, names):
    for name in names:
        add(folder, name)

    with pytest.raises(MigrationFault, match="is used 2 times") as caught:
        read_folder(folder)

    assert all(name in caught.value.message for name in names)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("beside", [None, "1_a.sql", "1_b.up.sql", "01_a.up.sql", "1_a.py"])
def test_a_down_needs_its_up(folder, beside):
    add(folder, "1_a.down.sql")
    if beside:
        add(folder, beside)

    with pytest.raises(MigrationFault, match=r"1_a\.down\.sql has no 1_a\.up\.sql") as caught:
        read_folder(folder)

    assert caught.value.file == folder / "1_a.down.sql"


@pytest.mark.parametrize("name", ["1a.sql", "1_.sql", "2-two.sql", "1-x.py", "1_a.SQL"])
def test_a_name_that_starts_with_a_digit_must_be_one(folder, name):
    add(folder, name)

    with pytest.raises(MigrationFault, match="is not the name of a migration") as caught:
        read_folder(folder)

    assert caught.value.file == folder / name


@pytest.mark.parametrize("content", ["", " \n\t\n", "-- later\n", "/* a /* b */ */ ;;\n"])
def test_an_empty_file_is_a_migration(folder, content):
    add(folder, "1_a.sql", content)

    assert [script.text for script in read_folder(folder)] == [content]


def test_other_encodings_are_refused_with_place_and_command(folder):
    path = add(folder, "1_a.sql", "SELECT 1;\r\nSELECT 'é', '".encode() + "ä".encode("latin-1") + b"';")

    with pytest.raises(MigrationFault, match="is not UTF-8: byte 0xe4") as caught:
        read_text(path)

    assert (caught.value.line, caught.value.column) == (2, 14)
    assert caught.value.hint == "convert it: iconv -f LATIN1 -t UTF-8 1_a.sql"


def test_utf_16_is_recognized(folder):
    path = add(folder, "1_a.sql", "SELECT 1;".encode("utf-16"))

    with pytest.raises(MigrationFault, match="is not UTF-8") as caught:
        read_text(path)

    assert "iconv -f UTF-16" in (caught.value.hint or "")


def test_a_nul_is_refused_with_its_place(folder):
    path = add(folder, "1_a.sql", b"SELECT 1;\nSELECT '\0';")

    with pytest.raises(MigrationFault, match="NUL") as caught:
        read_text(path)

    assert (caught.value.line, caught.value.column) == (2, 9)


@pytest.mark.parametrize("content", [b"SELECT '\xe9';\n", b"\xff\xfeS\0", b"SELECT '\0';\n"])
def test_a_folder_is_read_whatever_is_in_a_file_which_may_be_applied(folder, content):
    """Its checksum is that of its bytes; who prepares it to run is told what is wrong."""
    add(folder, "1_a.sql", content)

    scripts = read_folder(folder)

    assert [script.checksum for script in scripts] == [hashlib.sha256(content).hexdigest()]
    with pytest.raises(MigrationFault, match=r"1_a\.sql (is not UTF-8|contains a NUL)"):
        prepare(scripts, "forward")


def test_a_broken_link_is_a_fault_and_no_migration_less(folder):
    (folder / "1_a.sql").symlink_to(folder / "gone")

    with pytest.raises(MigrationFault, match=r"1_a\.sql cannot be read: No such file"):
        read_folder(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_a_fault(folder):
    add(folder, "1_a.sql").chmod(0)

    with pytest.raises(MigrationFault, match=r"1_a\.sql cannot be read: Permission denied"):
        read_folder(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file system refuses such a name itself")
def test_a_file_name_that_is_not_utf_8_is_a_fault(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/1_\xff.sql")).write_text("SELECT 1;")

    with pytest.raises(MigrationFault, match="is not UTF-8") as caught:
        read_folder(folder)

    assert caught.value.message.encode()


def test_a_pipe_is_a_fault_and_never_a_hang(folder):
    os.mkfifo(folder / "1_a.sql")

    with pytest.raises(MigrationFault, match=r"1_a\.sql is not a file"):
        read_folder(folder)


def test_all_faulty_files_are_named_at_once(folder):
    (folder / "1_a.sql").symlink_to(folder / "gone")
    add(folder, "2_b.down.sql")
    add(folder, "3x.sql")
    add(folder, "4_a.sql")
    add(folder, "04_b.sql")

    with pytest.raises(MigrationFaults) as caught:
        read_folder(folder)

    assert caught.value.exit_code == 4
    assert len(caught.value.faults) == 4


def test_reading_a_folder_loads_no_parser(folder):
    add(folder, "1_a.sql")
    code = (
        "import sys, pathlib; from confiture.migrations.folder import read_folder;"
        "read_folder(pathlib.Path(sys.argv[1])); print({'postgast', 'psycopg'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(folder)]

    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "set()"
