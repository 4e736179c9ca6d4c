"""Every rule fires on its example, and not on its own recipe."""

from __future__ import annotations

import pytest

from confiture.rules.explain import find_recipe, read_example, render_dangerous
from tests.rules.examples import (
    RULES,
    example_of,
    linted,
    of,
    parts_of,
    prepared,
    rehearsed,
    schema_of,
    set_up,
    write,
)

pytestmark = pytest.mark.slow

WITH_EXAMPLE = [rule.id for rule in RULES.values() if rule.example and not rule.judges_schema]
STATIC = [name for name in WITH_EXAMPLE if RULES[name].basis != "measured"]
# What PostgreSQL refuses cannot be rehearsed; what runs outside a transaction is not.
REFUSED = (
    "concurrently-in-transaction",
    "transaction-control-in-migration",
    "uncommitted-transaction",
    "duplicate-column-assignments",
    "add-column-not-null-no-default",
    "drop-database",
    "vacuum-full-cluster",
    "prefer-robust-statements",
)
REHEARSED = [name for name in WITH_EXAMPLE if name not in REFUSED]
WITH_RECIPE = [
    name
    for name in WITH_EXAMPLE
    if name not in ("no-lock-timeout", "no-statement-timeout", "statement-after-dangerous-lock")
    and find_recipe(RULES[name], read_example(example_of(RULES[name])))
]
ENDS_THE_SAME = [name for name in WITH_RECIPE if not example_of(RULES[name]).differs]


@pytest.mark.parametrize("name", STATIC)
def test_lint_warns_of_the_example(name, files):
    example = example_of(RULES[name])
    write(files, example.schema, render_dangerous(example))

    report = linted(files)

    assert [finding.basis for finding in of(report, name)][:1] == ["static"]


@pytest.mark.parametrize("name", [name for name in WITH_EXAMPLE if RULES[name].basis == "measured"])
def test_lint_does_not_guess_what_only_a_rehearsal_tells(name, files):
    write(files, render_dangerous(example_of(RULES[name])))

    report = linted(files)

    assert of(report, name) == []


@pytest.mark.parametrize("name", REHEARSED)
def test_a_rehearsal_warns_of_the_example(name, project):
    prepared(project, RULES[name])

    report = rehearsed(project)

    assert report.outcome == "ok", report
    assert of(report, name), [finding.rule for finding in report.findings]


@pytest.mark.parametrize("name", [name for name in REHEARSED if RULES[name].basis != "static"])
def test_what_a_rehearsal_can_tell_is_measured(name, project):
    prepared(project, RULES[name])

    report = rehearsed(project)

    static = ("no-lock-timeout", "no-statement-timeout")
    assert [finding.basis for finding in of(report, name)][:1] == ["static" if name in static else "measured"]


@pytest.mark.parametrize("name", WITH_RECIPE)
def test_the_recipe_runs_and_nothing_is_blocked_for_long(name, project):
    example = prepared(project, RULES[name])
    recipe = of(rehearsed(project), name)[0].recipe if name in REHEARSED else None
    recipe = recipe or find_recipe(RULES[name], read_example(example))
    assert recipe is not None
    for number, part in enumerate(parts_of(recipe), 1):
        write(project, *parts_of(recipe)[:number])

        report = rehearsed(project)
        ran = project.run()

        assert [finding.rule for finding in report.findings if finding.severity == "error"] == [], (
            part,
            report.findings,
        )
        assert [migration.long_blocks for migration in report.migrations] == [()], part
        assert ran.outcome == "ok", ran


@pytest.mark.parametrize("name", ENDS_THE_SAME)
def test_the_recipe_ends_in_the_same_schema(name, project, second_url):
    example = example_of(RULES[name])
    recipe = _recipe(name, project)
    if name not in REFUSED:
        project.run()
        expected = schema_of(project.url)
    else:
        expected = None
    other = _other(project, second_url)
    set_up(other, example)

    write(other, *parts_of(recipe))
    ran = other.run()

    assert ran.outcome == "ok", ran
    assert expected in (None, schema_of(other.url))


def _recipe(name, project):
    example = prepared(project, RULES[name])
    found = of(rehearsed(project), name) if name in REHEARSED else []
    recipe = found[0].recipe if found else find_recipe(RULES[name], read_example(example))
    assert recipe is not None
    return recipe


def _other(project, url):
    from tests.project import Project

    folder = project.folder / "other"
    (folder / "migrations").mkdir(parents=True)
    return Project(folder, url)
