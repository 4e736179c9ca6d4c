"""What a hook hands over is checked when it hands it over: whatever it is, every report is written."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from confiture.hooks.api import HookResult
from confiture.hooks.hook_context import HookContext
from tests import published
from tests.project import Project, only, plugin, tables

pytestmark = pytest.mark.slow

FORMATS = ("json", "html", "junit", "sarif", "gitlab", "markdown", "text")
FLAGS = [flag for name in FORMATS for flag in ("--output", f"{name}=out.{name}")]
HEAD = """
from confiture import HookResult, hookimpl

class Mute:
    def __str__(self):
        raise RuntimeError("not a word")
    __repr__ = __str__

class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("not a word")
    __repr__ = __str__

grown = {}
around = []
around += [around] * 10
"""


class Mute:
    """It cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("not a word")


@pytest.fixture
def project(tmp_path, database_url) -> Project:
    """A migration in a project of its own."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    project = Project(tmp_path / "project", database_url)
    project.write("1_sound.sql", "CREATE TABLE sound ()")
    project.write("2_jam.sql", "CREATE TABLE jam ()")
    return project


def install(project: Project, body: str, phase: str = "after_ddl") -> None:
    error = ", error" if phase == "on_error" else ""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    source = f"{HEAD}\n@hookimpl\ndef {phase}(conn, context{error}):\n    if context.migration_version == '1': return\n"
    project.install("mine", f"{source}{lines}\n")


def check_reports(project: Project) -> Any:
    """Check that each report is there and names what was applied before, and return the JSON report."""
    missing = [
        name
        for name in FORMATS
        if name not in ("gitlab", "sarif")
        and "sound" not in (project.folder / f"out.{name}").read_text("utf-8")
    ]
    assert missing == []
    ElementTree.parse(project.folder / "out.junit")
    assert [published.read_file(project.folder / f"out.{name}") is not None for name in ("gitlab", "sarif")]
    return published.read_file(project.folder / "out.json")


@pytest.mark.parametrize("command", ["run", "dry-run"])
@pytest.mark.parametrize(
    "body, reason",
    [
        ("context.set_stat('x', Mute())", "stat 'x' cannot be shown: str() of a Mute raises RuntimeError"),
        ("context.set_stat('x', {'y': [Mute()]})", "stat 'x' cannot be shown"),
        ("context.set_stat('x', grown)\ngrown['y'] = Mute()", "stat 'x' cannot be shown"),
        ("context.set_stat(7, 1)", "the name of a stat must be str, not int"),
        ("return HookResult('after_ddl', 'Fill', stats={'x': Mute()})", "stat 'x' cannot be shown"),
        ("return HookResult('after_ddl', 'Fill', stats='x')", "stats must be dict or None, not str"),
        (
            "return HookResult('after_ddl', 'Fill', rows_affected='many')",
            "rows_affected must be int, not str",
        ),
        ("return HookResult('after_ddl', Mute())", "hook_name must be str, not Mute"),
        ("return HookResult('after_ddl', 'Fill', execution_time_ms='long')", "execution_time_ms must be"),
        ("return HookResult('some_day', 'Fill')", "there is no phase 'some_day'"),
        ("return 'done'", "it returned str, not a HookResult or None"),
        ("context.data = None", "context.data cannot be replaced: write context.data[PLUGIN]"),
        ("del context.data", "context.data cannot be replaced"),
        ("context.phase = None", "context.phase cannot be changed"),
        ("context.callbacks = None", "context.callbacks cannot be changed"),
        ("context.on_commit('later')", "on_commit takes a function, not str"),
        ("raise MuteError()", "MuteError"),
    ],
)
def test_a_hook_that_hands_over_the_wrong_thing_fails_and_is_named(project, database, command, body, reason):
    install(project, body)

    answer = project(command, "--plugins", "mine", *FLAGS)

    assert answer.code == 5, answer.err
    assert "Traceback" not in answer.err
    first, second = check_reports(project)["migrations"]
    assert first["outcome"] == ("applied" if command == "run" else "rehearsed")
    assert "hook 'after_ddl' of plugin 'mine'" in second["error"]["message"]
    assert reason in second["error"]["message"]
    assert reason in answer.err
    if command == "run":
        assert "public.sound" in tables(database)
        assert "public.jam" not in tables(database)


@pytest.mark.parametrize(
    "body",
    ["context.data = None", "context.set_stat('x', Mute())", "raise MuteError()", "return 7", "exit(3)"],
)
def test_an_on_error_hook_that_does_so_leaves_the_failure_as_it_was(project, body):
    install(project, body, "on_error")
    project.write("2_jam.sql", "SELECT 1/0")

    answer = project("run", "--plugins", "mine", *FLAGS)

    assert answer.code == 4, answer.err
    document = check_reports(project)
    assert document["migrations"][1]["error"]["message"] == "division by zero"
    assert "warning: on_error failed too: hook 'on_error' of plugin 'mine'" in answer.out


def test_a_hook_that_may_fail_is_undone_and_the_migration_goes_on(project):
    install(project, "context.set_stat('x', Mute())")
    project.configure('[plugin.mine]\non_failure = "continue"\n')

    answer = project("run", "--plugins", "mine", *FLAGS)

    assert answer.code == 0
    hooks = check_reports(project)["migrations"][1]["hooks"]
    assert [(hook["outcome"], hook["stats"]) for hook in hooks] == [("undone", {})]


@pytest.mark.parametrize("body", ["raise MuteError()", "exit(3)"])
def test_a_callback_that_fails_after_the_commit_is_a_warning(project, body):
    install(project, f"def later():\n    {body}\ncontext.on_commit(later)")

    answer = project("run", "--plugins", "mine", *FLAGS)

    assert answer.code == 0, answer.err
    assert "later failed after the commit" in answer.out
    check_reports(project)


def test_a_stat_of_any_kind_is_kept_as_json_knows_it(project):
    import datetime
    from decimal import Decimal

    around: list[Any] = []
    around += [around] * 10

    def note(context: HookContext) -> None:
        context.set_stat("day", datetime.date(2026, 11, 27))
        context.set_stat("sum", [Decimal("1.50"), float("nan"), 10**6000])
        context.set_stat("around", around)
        assert context.get_stat("day") == datetime.date(2026, 11, 27)

    report = project.run(plugin(after_ddl=note))

    (hook,) = report.migrations[0].hooks
    assert (hook.stats["day"], hook.stats["sum"][:2]) == ("2026-11-27", ["1.50", "nan"])
    assert len(str(hook.stats["around"])) < 1_000_000


def test_between_hooks_a_context_is_its_owners():
    context = HookContext("jam", "1")

    context.attempt = 2

    assert context.attempt == 2


def test_a_result_is_checked_when_it_is_changed_too():
    result = HookResult("after_ddl", "Fill")

    with pytest.raises(TypeError, match="cannot be shown"):
        result.stats = {"x": Mute()}


def test_a_python_migration_that_raises_what_cannot_be_shown_is_a_failure(project):
    project.write(
        "2_jam.py",
        """
        from confiture.models.migration import Migration
        class Mute(Exception):
            sqlstate = 5
            def __str__(self): raise RuntimeError("not a word")
        class Jam(Migration):
            def up(self): raise Mute()
        """,
    )
    (project.migrations / "2_jam.sql").unlink()

    answer = project("run", *FLAGS)

    assert answer.code == 4, answer.err
    assert "Mute" in check_reports(project)["migrations"][1]["error"]["message"]
    assert only(project.rehearse()).error is not None
