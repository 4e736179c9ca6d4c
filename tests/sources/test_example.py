"""The example of a plugin that adds a convention works as its README says."""

from __future__ import annotations

from pathlib import Path

from tests.project import applied

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "examples/rambler-source/src/confiture_rambler/__init__.py").read_text(encoding="utf-8")


def test_a_plugin_adds_a_convention_that_adopt_takes_over(project, database):
    project.install("rambler", SOURCE, entry="rambler")
    project.configure('plugins = ["rambler"]\n')
    project.write("01_jam.sql", "-- rambler up\nCREATE TABLE jam ();\n-- rambler down\nDROP TABLE jam;\n")
    project.write("02_fig.sql", "-- rambler up\nCREATE TABLE fig ();\n-- rambler down\nDROP TABLE fig;\n")
    database.execute("CREATE TABLE migrations (migration varchar(255))")
    database.execute("CREATE TABLE jam ()")
    database.execute("INSERT INTO migrations VALUES ('01_jam.sql')")

    answer = project("adopt", "--mirror")

    assert "migrations of rambler, as 01_jam.sql shows" in answer.out, answer.err
    assert project("run").code == 0
    assert applied(database) == ["01_jam.sql", "02_fig.sql"]
    assert database.execute("SELECT count(*) FROM migrations").fetchone() == (2,)
    assert project("down").code == 0


def test_a_source_that_is_none_is_a_fault_of_the_plugin(project):
    project.install(
        "odd", "from confiture import hookimpl\n\n@hookimpl\ndef sources():\n    return ['odd']\n"
    )
    project.configure('plugins = ["odd"]\nsource = "odd"\n')
    project.write("1_jam.sql", "SELECT 1;")

    answer = project("status")

    assert answer.code == 2
    assert "plugin 'odd': sources() returns a str among its sources" in answer.err


def test_the_page_shows_the_hook_of_the_example():
    page = (ROOT / "docs/writing-sources.md").read_text(encoding="utf-8")

    hook = SOURCE[SOURCE.index("@hookimpl") : SOURCE.index("\n\n\ndef read_folder")]

    assert f"```python\n{hook}\n```" in page
