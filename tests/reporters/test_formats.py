"""Every format tells the same things, at the same lines, under the same fingerprints; each is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from confiture.escape import escape_command
from confiture.models.report import Estimate, Report, RuleText, Unavailable, Verdict
from confiture.output.github import REPORTER as GITHUB
from confiture.output.notices import collect_notices
from confiture.output.reporters import BUILTIN_FORMATS, RenderContext
from tests.reporters.reports import (
    HERE,
    RECIPE,
    UNSEEN,
    WARNING,
    everything,
    finding,
    hostile,
    migration,
    refusal,
    rendered,
    report,
)

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"
SARIF = jsonschema.Draft4Validator(json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text()))
JUNIT = xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd"))
REPORTS = {
    "everything": everything(),
    "nothing": report(migrations=()),
    "clean": report(),
    "refused": refusal(),
    "warned": report(WARNING, exit_code=1),
}
# Anything that a terminal, GitHub, GitLab, XML, HTML or Markdown might obey.
PAYLOADS = [
    "::set-output name=a::b",
    "x\n::error::y",
    "x\r\n  ::add-mask::y",
    "##[add-mask]y",
    "%0A::error::y",
    "%0D%0A",
    "<script>alert(1)</script>",
    "<!-- --> ]]>",
    "&lt;&#64;",
    "[x](javascript:alert(1)) ![i](http://h/i)",
    "https://host.example/ www.host.example a@b.example @team #12 group&1",
    "| a | b |\n|---|---|",
    "```\n# x\n```",
    "`` ` `",
    "</details>\n\n# title",
    "/close\n/merge",
    "\x1b[31mred\x07",
    "\x00\x0b\ufffe\uffff\ud800",
    "\u202eabc\u2028def",
    "a,b:c;d=e",
    "{0} %s ${{ secrets.X }}",
    "../..//x?y#z",
]
text_of_users = st.one_of(
    st.sampled_from(PAYLOADS),
    st.text(max_size=40),
    st.lists(st.sampled_from([*PAYLOADS, "\n", "`", "|", " "]), max_size=4).map("".join),
)


def sarif(told: Report, context: RenderContext = HERE) -> Any:
    document = json.loads(rendered("sarif", told, context))
    SARIF.validate(document)
    return document["runs"][0]


def gitlab(told: Report, context: RenderContext = HERE) -> Any:
    document = json.loads(rendered("gitlab", told, context))
    for entry in document:
        assert entry.keys() - {"content"} == {
            "description",
            "check_name",
            "fingerprint",
            "severity",
            "location",
        }
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert isinstance(entry["location"]["path"], str)
        assert not entry["location"]["path"].startswith("./")
        assert entry["location"]["lines"]["begin"] >= 1
    return document


def junit(told: Report, context: RenderContext = HERE) -> ElementTree.Element:
    text = rendered("junit", told, context)
    JUNIT.validate(text)
    return ElementTree.fromstring(text.encode())


def commands(told: Report) -> list[dict[str, str]]:
    """Read annotations as GitHub's runner does: command, properties, message, each unescaped."""
    found = []
    for line in rendered("github", told).splitlines():
        matched = re.fullmatch(r"::(error|warning|notice) ([^:]*)::(.*)", line)
        assert matched, line
        properties = dict(part.split("=", 1) for part in matched[2].split(","))
        raw = {"command": matched[1], **properties, "message": matched[3]}
        found.append({name: unescaped(value) for name, value in raw.items()})
    return found


def unescaped(value: str) -> str:
    for code, character in {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}.items():
        value = value.replace(code, character)
    return value


@pytest.mark.parametrize("told", REPORTS.values(), ids=REPORTS)
def test_sarif_is_valid(told):
    assert sarif(told)["invocations"][0]["exitCode"] == told.exit_code


@pytest.mark.parametrize("told", REPORTS.values(), ids=REPORTS)
def test_junit_is_valid_and_counts_what_it_holds(told):
    suite = junit(told)[0]

    assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
    for tag, counted in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[counted]) == len(suite.findall(f"testcase/{tag}"))


@pytest.mark.parametrize("told", REPORTS.values(), ids=REPORTS)
def test_gitlab_has_the_documented_fields_and_each_fingerprint_once(told):
    prints = [entry["fingerprint"] for entry in gitlab(told)]

    assert len(set(prints)) == len(prints)


def places_of(told: Report) -> dict[str, set[tuple[str, str, int]]]:
    """Return rule, file and line of everything that each format names, what is ignored left out."""
    return {
        "github": {
            (command["title"].removeprefix("confiture: "), command["file"], int(command["line"]))
            for command in commands(told)
            if "line" in command
        },
        "gitlab": {
            (item["check_name"], item["location"]["path"], item["location"]["lines"]["begin"])
            for item in gitlab(told)
            if item["check_name"] != "not-seen"
        },
        "sarif": {
            (rule, where["artifactLocation"]["uri"], where["region"]["startLine"])
            for rule, where in sarif_places(told)
            if rule != "not-seen"
        },
        "junit": {
            (case[0].attrib["type"], *split_place(str(case[0].text)))
            for case in junit(told).iter("testcase")
            if len(case)
            and "ignored: " not in case[0].attrib["message"]
            and "not seen" not in str(case[0].text)
        },
        "markdown": {
            (rule, file, int(line))
            for rule, file, line in re.findall(
                r"^- \*\*.+?\*\* `([\w-]+)` `(.+?):(\d+)(?::\d+)?`", rendered("markdown", told), re.M
            )
        },
    }


def split_place(text: str) -> tuple[str, int]:
    file, line, *_ = text.splitlines()[0].split(":")
    return file, int(line)


def sarif_places(told: Report) -> list[tuple[str, Any]]:
    run = sarif(told)
    named = [(item["ruleId"], item) for item in run["results"] if "suppressions" not in item]
    unseen = run["invocations"][0]["toolExecutionNotifications"]
    named += [(item["descriptor"]["id"], item) for item in unseen]
    return [(rule, item["locations"][0]["physicalLocation"]) for rule, item in named]


def test_every_format_names_the_same_things_at_the_same_lines():
    expected = {
        ("index-not-concurrent", "db/migrations/2_fig.sql", 7),
        ("drop-column", "db/migrations/2_fig.sql", 9),
        ("migration-failed", "db/migrations/3_quince.sql", 4),
        ("not-rehearsed", "db/migrations/4_rose.sql", 5),
    }

    assert places_of(everything()) == dict.fromkeys(BUILTIN_FORMATS, expected)


def test_every_format_has_the_same_fingerprints():
    told = everything()
    prints = {
        notice.fingerprint
        for notice in collect_notices(told, HERE)
        if notice.kind != "unseen" and not notice.ignored
    }

    results = [item for item in sarif(told)["results"] if "suppressions" not in item]
    assert {result["partialFingerprints"]["confiture/v1"] for result in results} == prints
    assert prints <= {item["fingerprint"] for item in gitlab(told)}
    assert {name for name in prints if f"fingerprint: {name}" not in rendered("junit", told)} == set()


def test_a_fingerprint_of_a_failure_does_not_follow_its_line():
    moved = report(migrations=(migration(),), outcome="refused", error=refusal().error)

    assert [notice.fingerprint for notice in collect_notices(refusal(), HERE)] == [
        notice.fingerprint for notice in collect_notices(moved, HERE) if notice.kind == "failure"
    ]


@pytest.mark.parametrize("name", BUILTIN_FORMATS)
def test_what_could_not_be_seen_is_said(name):
    text = rendered(name, report(migrations=(UNSEEN,)))

    assert "enum value" in text
    assert re.search("wal.*bytes", text)
    assert "other sessions wrote too" in text


@pytest.mark.parametrize("name", BUILTIN_FORMATS)
def test_a_refusal_is_reported(name):
    text = rendered(name, refusal())

    assert "there is no such thing" in text
    assert "db/migrations/1_jam.sql" in text


@pytest.mark.parametrize("name", [text for text in BUILTIN_FORMATS if text != "gitlab"])
def test_the_safer_way_is_there_to_paste(name):
    assert RECIPE in rendered(name, report(finding()))


def test_what_is_ignored_is_suppressed_in_sarif_and_skipped_in_junit():
    told = everything()

    suppressed = [item["ruleId"] for item in sarif(told)["results"] if "suppressions" in item]
    skipped = [
        each.attrib["name"] for each in junit(told).iter("testcase") if each.find("skipped") is not None
    ]

    assert suppressed == ["rename-table"]
    assert "rename-table db/migrations/2_fig.sql public.orders" in skipped
    assert "rename-table" not in rendered("github", told) + rendered("gitlab", told)
    assert "1 finding ignored" in rendered("markdown", told)


def test_the_worst_comes_first_for_github_shows_ten():
    many = [finding(line=line, severity="warning", fingerprint=f"{line:032x}") for line in range(1, 30)]

    told = commands(report(*many, finding(line=50), outcome="failed"))

    assert [each["command"] for each in told] == ["error", *["warning"] * 29]
    assert told[0]["line"] == "50"


def test_an_error_has_its_column():
    (error,) = [
        command for command in commands(everything()) if command["title"] == "confiture: migration-failed"
    ]
    (result,) = [item for item in sarif(everything())["results"] if item["ruleId"] == "migration-failed"]

    assert (error["line"], error["col"]) == ("4", "13")
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 4, "startColumn": 13}


@pytest.mark.parametrize(
    "file, told",
    [
        ("/shop/db/1.sql", "db/1.sql"),
        ("migrations/1.sql", "db/migrations/1.sql"),
        ("../lib/1.sql", "lib/1.sql"),
        ("/elsewhere/1.sql", "/elsewhere/1.sql"),
        ("/shopping/1.sql", "/shopping/1.sql"),
    ],
)
def test_paths_are_those_of_the_repository(file, told):
    assert HERE.path(file) == told


def test_a_path_of_another_place_is_a_whole_uri():
    (result,) = sarif(report(finding(file="/else where/ü.sql")))["results"]

    artifact = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": "file:///else%20where/%C3%BC.sql"}


def test_a_policy_that_says_no_without_an_error_is_no_green_junit():
    (gate,) = [each for each in junit(report(WARNING)).iter("testcase") if each.attrib["name"] == "gate"]

    assert gate.find("failure") is not None


def test_nothing_to_say_says_nothing_wrong():
    clean = report()

    assert rendered("github", clean) == ""
    assert gitlab(clean) == []
    assert sarif(clean)["results"] == []
    assert rendered("markdown", clean).startswith("## confiture dry-run: nothing found\n")


def test_a_comment_says_what_the_gate_says_and_the_next_step():
    verdict = Verdict(False, "gate: failed (1 error): rename-column at migrations/2_fig.sql:7", "do less")

    text = rendered("markdown", report(finding(), verdict=verdict))

    assert "**gate: failed (1 error): rename-column at migrations/2\\_fig.sql:7.** Next: do less\n" in text


def test_a_comment_says_how_long_production_would_take_where_that_was_asked_for():
    asked = migration(
        estimate=Estimate(True, p50_ms=42_000.0, interval90_ms=(25_000.0, 88_000.0)),
        unavailable=(Unavailable("public.orders", None, Estimate(True, interval90_ms=(0.0, 88_000.0))),),
    )

    text = rendered("markdown", report(migrations=(migration("1", "jam"), asked)))

    assert "in production: 2 fig blocks writes of public.orders for at most 1 min 28 s\n" in text
    assert "| blocks | in production |\n" in text
    assert re.search(r"\| 2 fig \|.*\| 25\.0 s to 1 min 28 s \(nine times in ten\), about 42\.0 s \|\n", text)


def test_a_comment_has_no_column_for_what_was_not_asked():
    assert "in production" not in rendered("markdown", everything())


def test_the_summary_of_a_github_job_is_the_markdown():
    (render,) = GITHUB.appended.values()

    assert render(everything(), HERE) == rendered("markdown", everything())


@pytest.mark.parametrize("count", [500, 5_000])
def test_a_comment_is_cut_with_the_errors_first_and_says_so(count):
    many = [finding(line=line, fingerprint=f"{line:032x}", severity="warning") for line in range(1, count)]
    many.append(finding(rule="the-worst", message="of all"))
    several = tuple(migration(str(number)) for number in range(3_000))

    text = rendered("markdown", report(*many, migrations=several))

    assert len(text) < 65_000
    assert text.startswith("## confiture dry-run: 1 error, ")
    assert text.index("the-worst") < text.index("index-not-concurrent")
    assert re.search(r"\*\*Cut: ([\d,]+ notices and )?[\d,]+ migrations left out;\*\*", text)


def test_one_endless_message_does_not_crowd_out_the_rest():
    text = rendered("markdown", report(finding(message="x" * 200_000, recipe="y" * 200_000), WARNING))

    assert len(text) < 65_000
    assert "drop-column" in text


@pytest.mark.parametrize("name", BUILTIN_FORMATS)
@settings(max_examples=40)
@given(text=text_of_users)
def test_no_text_of_a_user_is_obeyed_by_a_log(name, text):
    # On stdout in a job of GitHub, as outputs print it.
    lines = [
        escape_command(line) if name != "github" else line
        for line in rendered(name, hostile(text)).splitlines()
    ]

    commands = [line for line in lines if line.strip().startswith("::")]
    assert "##[" not in "\n".join(lines)
    assert [
        command
        for command in commands
        if name != "github" or not re.match("::(error|warning|notice) ", command)
    ] == []
    assert re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800]", "\n".join(lines)) is None


@settings(max_examples=40)
@given(text=text_of_users)
def test_annotations_stay_one_command_each(text):
    told = commands(hostile(text))

    assert len(told) == len([notice for notice in collect_notices(hostile(text), HERE) if not notice.ignored])
    assert {frozenset(each) - {"col"} for each in told} <= {
        frozenset({"command", "title", "message", "file", "line"}),
        frozenset({"command", "title", "message", "file"}),
        frozenset({"command", "title", "message"}),
    }


@settings(max_examples=40)
@given(text=text_of_users)
def test_sarif_junit_and_gitlab_stay_valid(text):
    told = hostile(text)

    # Of what has no file, such as an object of a live schema, GitHub accepts no result.
    with_file = [notice for notice in collect_notices(told, HERE) if notice.file and notice.kind != "unseen"]
    assert len(sarif(told)["results"]) == len(with_file) == (4 if text else 2)
    assert len(gitlab(told)) == len([notice for notice in collect_notices(told, HERE) if not notice.ignored])
    assert junit(told).tag == "testsuites"


@settings(max_examples=40)
@given(text=text_of_users)
def test_markdown_stays_inert(text):
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")

    tokens = markdown.parse(rendered("markdown", hostile(text)))

    flat = [child for token in tokens for child in (token, *(token.children or ()))]
    html = {each.content.strip() for each in flat if each.type.startswith("html")}
    assert html <= {"<br>", "<details><summary>write instead</summary>", "</details>"}
    assert {each.type for each in flat} & {"link_open", "image", "em_open", "s_open"} == set()
    assert len([each for each in flat if each.type == "heading_open"]) == 1
    assert not [
        each.content for each in flat if each.type == "text" and re.search(r"[@#]\w|://|www\.", each.content)
    ]
    assert [line for line in rendered("markdown", hostile(text)).splitlines() if line.startswith("/")] == []


def test_a_case_keeps_its_name_when_its_line_moves():
    def names(told: Report) -> list[str]:
        return [case.attrib["name"] for case in junit(told).iter("testcase")]

    moved = [evolve(item, line=item.line + 7) for item in everything().findings if item.line]
    told = evolve(everything(), findings=tuple(moved))

    assert names(told) == names(everything())
    assert not [name for name in names(told) if re.search(r":\d", name)]


def test_two_findings_of_a_rule_in_a_file_have_names_of_their_own():
    one, other = finding(line=3, fingerprint="a" * 32), finding(line=9, fingerprint="b" * 32)

    names = [case.attrib["name"] for case in junit(report(one, other)).iter("testcase")]

    same = "index-not-concurrent db/migrations/2_fig.sql public.orders"
    assert names[2:] == [f"{same} #aaaaaaaa", f"{same} #bbbbbbbb"]


CAST = "ALTER TABLE orders ADD CHECK (day\n::text = '')\n  NOT VALID;\n::int"


@pytest.mark.parametrize("name", BUILTIN_FORMATS)
def test_a_recipe_stays_sql_where_a_line_begins_with_a_cast(name):
    text = rendered(name, report(finding(recipe=CAST)))
    shown = {
        "github": lambda: "".join(command["message"] for command in commands(report(finding(recipe=CAST)))),
        "sarif": lambda: sarif(report(finding(recipe=CAST)))["results"][0]["properties"]["recipe"],
        "gitlab": lambda: json.dumps(gitlab(report(finding(recipe=CAST)))).replace("\\n", "\n"),
    }.get(name, lambda: text)()

    assert "\n::text = " in shown.replace("\n  ::", "\n::")
    assert "x3a" not in text


def test_a_rule_of_sarif_has_its_text_and_a_page():
    described = RuleText("index-not-concurrent", "An index.", "PostgreSQL locks it.", "https://example.org/x")
    told = evolve(everything(), rules=(described,))

    driver = sarif(told)["tool"]["driver"]

    rules = {rule["id"]: rule for rule in driver["rules"]}
    assert rules["index-not-concurrent"]["fullDescription"] == {"text": "An index. PostgreSQL locks it."}
    assert rules["index-not-concurrent"]["helpUri"] == "https://example.org/x"
    assert "confiture: ignore index-not-concurrent" in rules["index-not-concurrent"]["help"]["text"]
    assert rules["migration-failed"]["fullDescription"]["text"].startswith("A migration failed. ")
    assert {text["id"] for text in driver["notifications"]} == {"not-rehearsed", "not-seen"}
    own = [rules["migration-failed"], *driver["notifications"]]
    assert {rule["id"] for rule in own if not rule["helpUri"].startswith("https://")} == set()


def test_every_built_in_rule_has_its_text_for_sarif():
    from confiture.rules.builtin_rules import rules
    from confiture.rules.describe_rules import describe_rules

    findings = [finding(rule=rule.id) for rule in rules()]

    texts = describe_rules(rules(), findings)

    assert [text.rule for text in texts] == [rule.id for rule in rules()]
    assert [text.rule for text in texts if "Why it hurts" not in text.description] == []
