"""Formats are registered by a hook; several are written in one run; a plugin's own is one of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from confiture.cli.flags import Flags
from confiture.cli.outputs import open_outputs
from confiture.escape import escape_lines
from confiture.exceptions import PluginFault, UsageFault
from confiture.output import FORMATS
from confiture.output import builtin_reporters as builtin
from confiture.output.collect_reporters import collect_reporters
from confiture.output.reporters import BUILTIN_FORMATS, RenderContext
from confiture.plugins.find import find_plugins
from confiture.plugins.load import load_all
from confiture.plugins.select import PluginSelection
from tests.project import Project
from tests.reporters.reports import everything, finding, migration, report

HEAD = "from confiture import hookimpl\nfrom confiture.output.reporters import Reporter\n"
LINES = HEAD + (
    "def render(report, context):\n"
    "    return ''.join(f'{context.path(each.file)}: {each.outcome}\\n' for each in report.migrations)\n"
    "@hookimpl\n"
    "def reporters():\n"
    "    return [Reporter('lines', render, lines=True)]\n"
)


@pytest.fixture
def folder(tmp_path):
    """A project in a repository; no configuration of a folder above is found."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    project = Project(tmp_path / "project")
    yield project
    project.end()


@pytest.fixture
def project(folder, database_url):
    """It has an empty database."""
    folder.url = database_url
    return folder


def test_every_built_in_format_is_registered_by_the_hook():
    given = builtin.reporters()

    assert tuple(reporter.name for reporter in given) == FORMATS
    assert [reporter.name for reporter in given if not reporter.render(everything(), RenderContext())] == []


def test_a_built_in_format_imports_no_plugin_and_no_other_format(folder):
    code = (
        "import sys\n"
        "from confiture.cli.flags import Flags\n"
        "from confiture.cli.outputs import open_outputs\n"
        "with open_outputs(Flags(output=('sarif=o', 'github'))) as out: pass\n"
        "print([each for each in sys.modules if each.startswith('confiture.plugins')"
        " or each in ('psycopg', 'rich', 'confiture.output.junit', 'confiture.output.html')])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder.folder, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


def test_several_reports_are_written_in_one_run_and_agree(project):
    """Each is read back; the line is looked up in the file."""
    project.write("1_jam.sql", "-- Jam.\n\nCREATE TABLE jam (id int);\n")
    file = project.write("2_fig.sql", "SELECT 1;\n\n\nUPDATE\n  figs SET x = 1;\n")
    project.environ["GITHUB_STEP_SUMMARY"] = str(project.folder / "summary.md")
    flags = [f for name in BUILTIN_FORMATS if name != "github" for f in ("--output", f"{name}=out.{name}")]

    answer = project("dry-run", *flags, "--output", "text", "--output", "github")

    assert answer.code == 4, answer.err
    assert 'relation "figs" does not exist' in answer.out.split("::error")[0]
    lines = {
        "github": re.search(r"^::error file=(.*?),line=(\d+)", answer.out, re.M),
        "summary": re.search(r"`(migrations/2_fig.sql):(\d+)", (project.folder / "summary.md").read_text()),
        "markdown": re.search(
            r"`(migrations/2_fig.sql):(\d+)", (project.folder / "out.markdown").read_text()
        ),
    }
    found = {name: (line[1], int(line[2])) for name, line in lines.items() if line}
    results = json.loads((project.folder / "out.sarif").read_text())["runs"][0]["results"]
    # Beside the failure stands what the text of the statement that was not rehearsed shows.
    (result,) = (result for result in results if result["ruleId"] == "migration-failed")
    place = result["locations"][0]["physicalLocation"]
    found["sarif"] = (place["artifactLocation"]["uri"], place["region"]["startLine"])
    entry = json.loads((project.folder / "out.gitlab").read_text())[0]
    found["gitlab"] = (entry["location"]["path"], entry["location"]["lines"]["begin"])
    (error,) = ElementTree.parse(project.folder / "out.junit").iter("error")
    found["junit"] = (str(error.text).split(":")[0], int(str(error.text).split(":")[1]))
    names = ("github", "summary", "markdown", "sarif", "gitlab", "junit")
    assert found == dict.fromkeys(names, ("migrations/2_fig.sql", 5))
    assert "figs" in file.read_text().splitlines()[5 - 1]


def test_a_configuration_that_cannot_be_read_is_annotated_too(folder):
    folder.configure("urll = 1\n")

    answer = folder("dry-run", "--output", "github", "--output", "sarif=out.sarif")

    assert answer.code == 2
    assert re.match(r"::error .*title=confiture%3A refused::.*unknown key 'urll'", answer.out)
    (run,) = json.loads((folder.folder / "out.sarif").read_text())["runs"]
    (said,) = run["invocations"][0]["toolExecutionNotifications"]
    assert said["level"] == "error"
    assert run["results"] == []


def test_a_plugin_adds_a_format_of_its_own(project):
    project.install("mine", LINES)
    project.write("1_jam.sql", "CREATE TABLE jam (id int);\n")

    answer = project("dry-run", "--plugins", "mine", "--output", "lines", "--output", "text=out.txt")

    assert answer.code == 0, answer.err
    assert answer.out.endswith("migrations/1_jam.sql: rehearsed\n")


def test_a_plugin_that_only_gives_a_format_is_listed(folder):
    folder.install("mine", LINES)
    folder.configure('plugins = ["mine"]\n')

    answer = folder("plugins")

    assert re.search(r"ready +mine +mine-package 1.0 +reporters", answer.out)


def test_the_format_of_a_plugin_that_takes_no_part_is_unknown(folder):
    folder.install("mine", LINES)

    answer = folder("dry-run", "--output", "lines")

    assert answer.code == 2
    assert "there is no format 'lines'" in answer.err
    assert "hint: the formats are text, json, html, github," in answer.err


@pytest.mark.parametrize(
    "body, fault",
    [
        ("    raise ValueError('burnt')", "its hook raises ValueError: burnt"),
        ("    return ['lines']", "a str is not a Reporter"),
        ("    return 7", "its hook raises TypeError"),
        ("    return [Reporter('sarif', print)]", "the format 'sarif' exists already"),
    ],
)
def test_a_plugin_whose_formats_cannot_be_used_is_refused(fake_distribution, body, fault):
    fake_distribution("mine", f"{HEAD}@hookimpl\ndef reporters():\n{body}\n")
    plugins = load_all(PluginSelection(tuple(plugin for plugin in find_plugins() if plugin.name == "mine")))

    with pytest.raises(PluginFault, match=re.escape(fault)):
        collect_reporters(plugins)


@pytest.mark.parametrize(
    "body, fault", [("1 / 0", "ZeroDivisionError: division by zero"), ("7", "a int is not text")]
)
def test_a_format_that_fails_is_a_fault_and_the_others_are_written(project, body, fault):
    source = (
        f"{HEAD}@hookimpl\ndef reporters():\n    return [Reporter('mine', lambda report, context: {body})]\n"
    )
    project.install("mine", source)
    project.write("1_jam.sql", "CREATE TABLE jam (id int);\n")

    answer = project("dry-run", "--plugins", "--output", "mine=out", "--output", "json")

    assert answer.code == 2
    assert f"--output mine of plugin 'mine': {fault}" in answer.err
    assert re.search(r"mine\.py:5\)", answer.err)
    assert answer.json["outcome"] == "ok"


@pytest.mark.parametrize("command", ["status", "plan", "plugins", "history", "verify"])
def test_what_is_no_report_is_refused_as_such_before_anything_is_done(folder, command):
    answer = folder(command, "--output", "sarif")

    assert answer.code == 2
    assert "the format 'sarif' is for reports of runs and rehearsals" in answer.err


@pytest.mark.parametrize(
    "wanted", [("github", "json"), ("json", "github"), ("github", "github"), ("text", "sarif")]
)
def test_only_text_and_annotations_share_stdout(wanted):
    with (
        pytest.raises(UsageFault, match="stdout already takes another report"),
        open_outputs(Flags(output=wanted)),
    ):
        pytest.fail("it ran")


def test_quiet_leaves_the_annotations(capsys):
    with open_outputs(Flags(output=("github",), quiet=True)) as out:
        out.write("report", report(finding()))

    said = capsys.readouterr().out
    assert said.startswith("::error ")
    assert said.count("\n") == 1


def test_annotations_stand_below_the_text(capsys):
    with open_outputs(Flags(output=("github",))) as out:
        out.write("report", report(finding()))

    assert capsys.readouterr().out.splitlines()[-1].startswith("::error ")


def test_the_summary_is_appended(tmp_path, monkeypatch):
    file = tmp_path / "summary.md"
    file.write_text("of before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))

    with open_outputs(Flags(output=("github",))) as out:
        out.write("report", report(finding()))

    assert file.read_text().startswith("of before\n## confiture dry-run: 1 error\n")


def test_a_summary_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))

    with pytest.raises(UsageFault, match="cannot be written"), open_outputs(Flags(output=("github",))):
        pytest.fail("it ran")


def test_in_a_folder_of_a_repository_paths_are_those_of_the_repository(tmp_path, monkeypatch, capsys):
    (tmp_path / ".git").mkdir()
    (tmp_path / "db").mkdir()
    monkeypatch.chdir(tmp_path / "db")

    with open_outputs(Flags(output=("github",))) as out:
        out.write("report", report(finding(file="migrations/1.sql"), migrations=()))

    assert "::error file=db/migrations/1.sql,line=7," in capsys.readouterr().out


@pytest.mark.parametrize("format", ["text", "json", "github", "gitlab", "sarif", "junit", "markdown"])
def test_a_log_of_github_obeys_nothing_that_a_server_or_a_file_says(project, database, format):
    """Server messages, SQL and names of files end up in logs, on stdout and on stderr."""
    project.write(
        "1_##[add-mask]jam.sql",
        "ALTER TABLE x ADD CHECK ('\n::add-mask::y' <> '');\n"
        "DO $$ BEGIN RAISE 'x\n::add-mask::y\n##[group]z'; END $$;\n",
    )
    database.execute("CREATE TABLE x ()")

    answer = project("dry-run", "--output", format, GITHUB_ACTIONS="true")

    assert answer.code == 4
    for line in (answer.out + answer.err).splitlines():
        assert "##[" not in line
        assert not line.strip().startswith("::") or re.match("::(error|warning|notice) ", line), line


def test_the_format_that_the_docs_show_is_one(fake_distribution):
    page = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.S)
    fake_distribution("mine", source)

    found = collect_reporters(
        load_all(PluginSelection(tuple(plugin for plugin in find_plugins() if plugin.name == "mine")))
    )

    assert found["lines"].render(report(), RenderContext()) == "1: rehearsed\n2: rehearsed\n"


@pytest.mark.parametrize(
    "text, told",
    [
        ("##[add-mask]x", r"#\x23[add-mask]x"),
        ("a ###[b", r"a ##\x23[b"),
        ("## [b", "## [b"),
        ("  ::error::x", r"  \x3a\x3aerror::x"),
        ("a::text", "a::text"),
        ("\u00a0::error::x", "\u00a0\\x3a\\x3aerror::x"),
    ],
)
def test_what_github_takes_for_a_command_is_shown_and_not_obeyed(text, told):
    assert escape_lines(f"one\n{text}") == ["one", told]


def test_the_recipe_on_a_screen_is_sql_to_paste_even_where_a_line_begins_with_a_cast(folder):
    folder.write("1_jam.sql", "ALTER TABLE orders ADD CHECK (day\n::text <> '');\n")

    screen, runner = folder("lint"), folder("lint", GITHUB_ACTIONS="true")

    recipe = screen.out.split("instead:")[1]
    assert "::text" in recipe
    assert "x3a" not in screen.out
    assert not [line for line in runner.out.splitlines() if line.strip().startswith("::")]


@pytest.mark.parametrize(
    "file, checked",
    [
        ("migrations/1_jam.sql", True),
        ("db/changes/0001_jam.up.sql", True),
        ("services/shop/schema/20261127101500_jam.py", True),
        ("1_jam.sql", True),
        ("db/changes/0001_jam.down.sql", False),
        ("migrations/1_jam.check.sql", False),
        ("migrations/1_jam.backfill.sql", False),
        ("migrations/schema.sql", False),
        ("2026/notes.sql", False),
        ("migrations/1_jam.txt", False),
    ],
)
def test_pre_commit_finds_migrations_in_any_folder(file, checked):
    (hook,) = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())

    found = re.search(hook["files"], file) and not re.search(hook["exclude"], file)

    assert bool(found) is checked


def test_a_built_in_format_that_fails_leaves_the_others(tmp_path):
    """There is no report of a run that does this: a made-up outcome stands for a bug of ours."""
    odd = report(migrations=(migration(outcome="lost"),))
    flags = Flags(output=(f"html={tmp_path}/out.html", f"json={tmp_path}/out.json"), quiet=True)

    with pytest.raises(UsageFault, match="--output html: ") as caught, open_outputs(flags) as out:
        out.write("report", odd)

    assert "this is a bug in confiture" in str(caught.value.hint)
    assert json.loads((tmp_path / "out.json").read_text())["migrations"][0]["outcome"] == "lost"
