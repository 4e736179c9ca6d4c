"""Rules and formats of plugins: what cannot be used is refused at load; what fails later loses no report."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from tests import published
from tests.project import Project

pytestmark = pytest.mark.slow

HEAD = """\
from confiture import hookimpl
from confiture.output.reporters import Reporter
from confiture.rules.rule import Example, Hit, Rule

def find(statement):
    yield Hit("found")

def render(report, context):
    return "mine"

def make(id="jam-rule", severity="error", basis="static", summary="a", effect="b", risk="c", check=find, **more):
    return Rule(id, severity, basis, summary, effect, risk, check, **more)

"""
FORMATS = ("json", "html", "junit", "sarif", "gitlab", "markdown", "text")
FLAGS = [flag for name in FORMATS for flag in ("--output", f"{name}=out.{name}")]


@pytest.fixture
def shop(project: Project) -> Project:
    """One migration; plugins give rules and formats."""
    project.write("1_jam.sql", "CREATE TABLE jam ();\n\nCREATE TABLE fig ();\n")
    return project


def install(project: Project, hook: str, body: str, name: str = "mine") -> None:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    project.install(name, f"{HEAD}@hookimpl\ndef {hook}():\n{lines}\n")


def read_json(project: Project) -> Any:
    return published.read_file(project.folder / "out.json")


WRONG_RULES = [
    ("make(severity='fatal')", "rule 'jam-rule': severity is 'fatal'; use one of error, warning, info, off"),
    ("make(severity=None)", "rule 'jam-rule': severity is a NoneType"),
    ("make(basis='guess')", "rule 'jam-rule': basis is 'guess'; use one of static, measured, either"),
    ("make(id='jam rule')", "the rule's id is 'jam rule'"),
    ("make(id=7)", "id must be str, not int"),
    ("make(summary=None)", "rule 'jam-rule': summary must be str, not NoneType"),
    ("make(check='find')", "rule 'jam-rule': check must be a function, not str"),
    ("make(kinds='index_stmt')", "rule 'jam-rule': kinds must be a tuple of names"),
    ("make(kinds=('idx_stmt',))", "rule 'jam-rule': kinds has 'idx_stmt', which no parser knows"),
    ("make(kinds=('a_expr',))", "rule 'jam-rule': kinds has 'a_expr', which no parser knows"),
    (
        "make(kinds=('alter_table_stmt',), subcommands=('AT_AddColumns',))",
        "subcommands has 'AT_AddColumns', which no parser knows",
    ),
    ("make(example='SELECT 1')", "example must be Example or None, not str"),
    ("make(example=Example(None, 'SELECT 1'))", "schema must be str, not NoneType"),
    ("make(id='drop-table')", "the rule id 'drop-table' is already used by 'confiture'"),
    ("'jam'", "rules() returns a str among its rules"),
    ("exit(3)", "rules() failed with SystemExit: 3"),
]
WRONG_FORMATS = [
    ("Reporter('sarif', render)", "the format 'sarif' exists already, in 'confiture'"),
    ("Reporter('json', render)", "the format 'json' exists already, in 'confiture'"),
    ("Reporter('mine=x', render)", "the name of a reporter is 'mine=x'"),
    ("Reporter('', render)", "the name of a reporter is ''"),
    ("Reporter(7, render)", "the name of a reporter is a int"),
    ("Reporter('mine', 'render')", "reporter 'mine': it renders by a function, not str"),
    ("Reporter('mine', render, 'SUMMARY')", "reporter 'mine': appended must be dict, not str"),
    ("Reporter('mine', render, {'SUMMARY': 1})", "reporter 'mine': it renders by a function, not int"),
    ("'mine'", "a str is not a Reporter"),
]


@pytest.mark.parametrize("command", ["run", "dry-run", "lint", "rules"])
@pytest.mark.parametrize("rule, reason", WRONG_RULES)
def test_a_rule_that_cannot_be_used_is_refused_at_load(shop, command, rule, reason):
    install(shop, "rules", f"return [{rule}]")

    answer = shop(command, "--plugins", "mine", *(() if command == "rules" else FLAGS))

    assert answer.code == 2, answer.err
    assert "Traceback" not in answer.err
    assert "plugin 'mine': " in answer.err
    assert reason in answer.err
    if command != "rules":
        assert reason in read_json(shop)["error"]["message"]
        assert {name for name in FORMATS if not (shop.folder / f"out.{name}").read_text("utf-8")} == set()


@pytest.mark.parametrize("command", ["run", "dry-run", "lint"])
@pytest.mark.parametrize("reporter, reason", WRONG_FORMATS)
def test_a_format_that_cannot_be_used_is_refused_at_load(shop, command, reporter, reason):
    install(shop, "reporters", f"return [{reporter}]")

    answer = shop(command, "--plugins", "mine", *FLAGS)

    assert answer.code == 2, answer.err
    assert "the reporters of plugin 'mine' cannot be used: " in answer.err
    assert reason in answer.err
    assert read_json(shop)["outcome"] == "refused"


def test_a_rule_made_where_the_module_is_imported_is_named_with_its_line(shop):
    shop.install("mine", f"{HEAD}RULE = make(severity='fatal')\n@hookimpl\ndef rules():\n    return [RULE]\n")

    answer = shop("lint", "--plugins", "mine")

    assert answer.code == 2
    assert re.search(r"plugin 'mine'.* rule 'jam-rule': severity is 'fatal'.*mine\.py:\d+\)", answer.err)


def test_every_fault_is_in_one_message_and_in_the_list_of_plugins(shop):
    install(shop, "rules", "return [make('a b'), make()]", "jam")
    install(shop, "rules", "return [make(kinds=('nope',)), make('x', kinds=('nope_stmt',))]", "mine")

    answer, listed = shop("lint", "--plugins", "jam,mine"), shop("plugins")

    assert answer.code == 2
    assert answer.err.count("plugin '") == 3
    assert listed.code == 0
    assert listed.out.count("broken") == 2
    assert "kinds has 'nope', which no parser knows" in listed.out


def test_every_built_in_rule_has_kinds_that_the_parser_knows():
    from confiture.rules import builtin_rules
    from confiture.sql.parser import list_alter_commands, list_statement_kinds

    for rule in builtin_rules.rules():
        assert set(rule.kinds) <= list_statement_kinds()
        assert set(rule.subcommands) <= list_alter_commands()


WRONG_HITS = [
    ("return 'found'", "returned a str at {place}, not hits"),
    ("return [None]", "gave a NoneType at {place}, not a Hit"),
    ("yield 'found'", "gave a str at {place}, not a Hit"),
    ("return 7", "failed at {place} with TypeError"),
    ("raise ValueError('burnt')", "failed at {place} with ValueError: burnt"),
    ("exit(3)", "failed at {place} with SystemExit: 3"),
    ("raise GeneratorExit", "failed at {place} with GeneratorExit"),
    ("yield Hit('found', severity='fatal')", "severity is 'fatal'"),
    ("yield Hit(None)", "message must be str, not NoneType"),
    ("yield Hit('found', recipe=['SELECT 1'])", "recipe must be str or Recipe or None, not list"),
    ("yield Hit('found', line='7')", "line must be int or None, not str"),
]


@pytest.mark.parametrize("command", ["dry-run", "lint"])
@pytest.mark.parametrize("field", ["check", "check_migration"])
@pytest.mark.parametrize("body, reason", WRONG_HITS)
def test_a_rule_that_fails_is_named_with_its_line_and_the_report_is_kept(shop, command, field, body, reason):
    source = (
        f"{HEAD}def wrong(asked):\n    {body}\n\n@hookimpl\ndef rules():\n    return [make({field}=wrong)]\n"
    )
    shop.install("mine", source)
    line = source[: source.index("def wrong")].count("\n") + 1

    answer = shop(command, "--plugins", "mine", *FLAGS)

    assert answer.code == 2, answer.err
    assert "Traceback" not in answer.err
    place = "migrations/1_jam.sql:1" if field == "check" else "migrations/1_jam.sql"
    message = read_json(shop)["error"]["message"]
    assert message.startswith("the rule jam-rule of plugin 'mine' ")
    assert reason.format(place=place) in message
    assert re.search(rf"mine\.py:({line}|{line + 1})\)", message)
    assert message in answer.err.replace("\n       ", "\n")
    ElementTree.parse(shop.folder / "out.junit")
    outcomes = [migration["outcome"] for migration in read_json(shop)["migrations"]]
    assert outcomes == (["rehearsed"] if command == "dry-run" else [])


def test_a_rule_that_fails_stops_a_gate_before_anything_is_applied(shop):
    install(shop, "rules", "return [make(check=lambda statement: [None])]")

    answer = shop("run", "--gate", "--plugins", "mine", *FLAGS)

    assert answer.code == 2
    assert "nothing was applied" in answer.out
    assert shop.states() == {"1": "pending"}
    assert read_json(shop)["exit_code"] == 2


def test_a_rule_whose_confirmation_fails_is_named(shop):
    install(
        shop,
        "rules",
        "return [make(basis='either', confirmed_by=lambda hit, statement: statement.report.nope)]",
    )

    answer = shop("dry-run", "--plugins", "mine")

    assert answer.code == 2
    assert (
        "the rule jam-rule of plugin 'mine' failed at migrations/1_jam.sql:1, in confirmed_by" in answer.err
    )


def test_explaining_a_rule_that_fails_names_it(shop):
    install(shop, "rules", "return [make(check=lambda asked: [1 / 0], example=Example('', 'SELECT 1'))]")

    answer = shop("rules", "jam-rule", "--plugins", "mine")

    assert answer.code == 2
    assert "the rule jam-rule of plugin 'mine' failed at line" in answer.err


@pytest.mark.parametrize("body", ["1 / 0", "7", "None", "exit(3)", "report.nope"])
@pytest.mark.parametrize("command", ["run", "dry-run"])
def test_a_format_that_fails_leaves_all_the_others(shop, command, body):
    shop.install(
        "mine",
        f"{HEAD}def wrong(report, context):\n    return {body}\n\n"
        "@hookimpl\ndef reporters():\n    return [Reporter('mine', wrong)]\n",
    )

    answer = shop(command, "--plugins", "mine", "--output", "mine=out.mine", *FLAGS)

    assert answer.code == 2, answer.err
    assert "error: --output mine of plugin 'mine': " in answer.err
    assert re.search(r"mine\.py:\d+\)", answer.err)
    document = read_json(shop)
    assert [migration["outcome"] for migration in document["migrations"]] == [
        "applied" if command == "run" else "rehearsed"
    ]
    assert {name for name in FORMATS if "jam" not in (shop.folder / f"out.{name}").read_text("utf-8")} <= {
        "gitlab",
        "sarif",
    }


def test_ctrl_c_while_a_format_is_made_leaves_all_the_others(shop):
    shop.install(
        "mine",
        f"{HEAD}import signal\n\n\ndef wrong(report, context):\n    signal.raise_signal(signal.SIGINT)\n\n"
        "@hookimpl\ndef reporters():\n    return [Reporter('mine', wrong)]\n",
    )

    answer = shop("run", "--plugins", "mine", "--output", "mine=out.mine", *FLAGS)

    assert answer.code == 130
    assert [migration["outcome"] for migration in read_json(shop)["migrations"]] == ["applied"]


def test_a_format_that_fails_at_a_run_that_failed_keeps_the_runs_code(shop):
    install(shop, "reporters", "return [Reporter('mine', lambda report, context: 1 / 0)]")
    shop.write("1_jam.sql", "SELECT 1/0")

    answer = shop("run", "--plugins", "mine", "--output", "mine=out.mine", *FLAGS)

    assert answer.code == read_json(shop)["exit_code"] == 4
    assert "--output mine of plugin 'mine': ZeroDivisionError" in answer.err


@pytest.mark.parametrize("command", ["run", "dry-run", "lint"])
def test_what_a_rule_or_a_format_prints_is_not_in_the_report(shop, command):
    shop.install(
        "mine",
        f"{HEAD}def loud(*_):\n    print('loud')\n    return []\n\n"
        "@hookimpl\ndef reporters():\n    print('loud')\n"
        "    return [Reporter('mine', lambda report, context: print('loud') or 'mine')]\n"
        "@hookimpl\ndef rules():\n    return [make(check=loud)]\n",
    )

    answer = shop(command, "--plugins", "mine", "--output", "json", "--output", "mine=out.mine")

    assert answer.code == 0, answer.err
    assert published.read(answer.out)["outcome"] == "ok"
    assert "loud" in answer.err
    assert (shop.folder / "out.mine").read_text() == "mine"
