"""What is installed is found by its metadata alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from confiture.plugins.find import FoundPlugin

HOOK = "from confiture import hookimpl\n\n@hookimpl\ndef before_ddl(conn): ...\n"


def test_a_plugin_is_found_with_its_package_and_version(fake_distribution, found_in):
    """The entry point's name, not the package's, is what the configuration uses."""
    fake_distribution("jam", HOOK, version="1.2", entry="jam", distribution="confiture-jam")

    found = found_in()

    assert found == (FoundPlugin("jam", "confiture-jam", "1.2", "jam"),)
    assert found[0].label == "plugin 'jam' (confiture-jam 1.2)"


def test_plugins_are_found_by_name_whatever_the_packages_are_called(fake_distribution, found_in):
    """The order of all that are installed is that of their names."""
    fake_distribution("plum", HOOK, distribution="a")
    fake_distribution("apple", HOOK, distribution="b")
    fake_distribution("fig", HOOK, distribution="c")

    names = [item.name for item in found_in()]

    assert names == ["apple", "fig", "plum"]


def test_finding_imports_nothing_of_the_plugin(fake_distribution, found_in):
    """A plugin that would end the process is found like any other."""
    fake_distribution("burnt", "raise SystemExit('imported')")

    found = found_in()

    assert [item.name for item in found] == ["burnt"]
    assert "burnt" not in sys.modules


def test_entry_points_of_other_projects_are_not_plugins(site, fake_distribution, found_in):
    """Only the group ``confiture`` counts."""
    info = site / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest11]\nother = other\n\n[confitures]\nnear = other\n")
    fake_distribution("jam", HOOK)

    found = found_in()

    assert [item.name for item in found] == ["jam"]


@pytest.mark.parametrize(
    "entry_points",
    [b"[confiture]\nno value here\n", b"\xff\xfe\x00[", b"[confiture", b""],
    ids=["no value", "not UTF-8", "open bracket", "empty"],
)
def test_broken_metadata_of_another_package_stops_nothing(site, fake_distribution, found_in, entry_points):
    """Half an uninstall elsewhere must not take the working plugins away."""
    info = site / "wreck-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(b"\xff\xfe")
    (info / "entry_points.txt").write_bytes(entry_points)
    (site / "-1.dist-info").mkdir()
    fake_distribution("jam", HOOK)

    found = found_in()

    assert [item.name for item in found] == ["jam"]


def test_a_package_without_name_and_version_is_still_found(site, found_in):
    """What the metadata does not say is said so."""
    info = site / "nameless.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\n")
    (info / "entry_points.txt").write_text("[confiture]\njam = jam\n")

    found = found_in()

    assert found == (FoundPlugin("jam", "unnamed package", "unknown", "jam"),)


def test_a_folder_twice_on_the_path_gives_each_plugin_once(fake_distribution, found_in, monkeypatch):
    """The same package again is not a second plugin."""
    folder = fake_distribution("jam", HOOK)
    monkeypatch.syspath_prepend(str(folder) + "/")

    found = found_in()

    assert [item.name for item in found] == ["jam"]


def test_a_package_installed_twice_is_the_one_that_python_imports(
    fake_distribution, found_in, monkeypatch, tmp_path
):
    """As an editable install in front of an older copy, its name spelled another way."""
    fake_distribution("jam", HOOK, version="1.0", distribution="Confiture_Jam")
    editable = fake_distribution(
        "jam", HOOK, version="2.0", distribution="confiture-jam", folder=tmp_path / "editable"
    )
    monkeypatch.syspath_prepend(str(editable))

    found = found_in()

    assert [(item.name, item.version) for item in found] == [("jam", "2.0")]


def test_two_packages_with_plugins_of_one_name_are_both_found(fake_distribution, found_in):
    """Neither shadows the other; loading refuses them by name."""
    fake_distribution("jam", HOOK, distribution="mine")
    fake_distribution("jam", HOOK, distribution="theirs")

    found = found_in()

    assert [(item.name, item.distribution) for item in found] == [("jam", "mine"), ("jam", "theirs")]


def test_looking_at_the_modules_alone_does_not_import_importlib_metadata():
    """``--help`` pays for what it uses only."""
    program = (
        "import sys, confiture\n"
        "before = set(sys.modules)\n"
        "import confiture.plugins.inventory, confiture.plugins.order\n"
        "slow = {'importlib.metadata', 'difflib', 'structlog', 'psycopg', 'rich', 'postgast'}\n"
        "print(sorted(slow & (set(sys.modules) - before)))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert printed == "[]\n"
