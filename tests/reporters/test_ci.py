"""Ten lines of CI configuration make a gate: ours are run here as the CI services run them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.reporters.pipelines import EXAMPLE, ROOT, Action, gitlab_job, read, shell

pytestmark = pytest.mark.slow

DANGEROUS, SAFE = re.findall(r"```sql\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.S)
THIRD = "migrations/0003_order_region.sql"


@pytest.fixture(scope="session")
def runner(machine, tmp_path_factory) -> Action:
    """A runner on which the action has installed confiture, as its first step does."""
    runner = Action(tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("temp"), machine)
    installed = runner.run("Install confiture")
    assert installed.code == 0, installed.err
    return runner


@pytest.fixture
def action(runner, repository, database_url) -> Action:
    """The action on the example, with the database of a service."""
    workflow = read(EXAMPLE / ".github/workflows/migrations.yml")
    (step,) = [item for item in workflow["jobs"]["migrations"]["steps"] if item["uses"] == "./"]
    assert (ROOT / step["with"]["working-directory"]).samefile(EXAMPLE)
    environ = {**runner.environ, "GITHUB_STEP_SUMMARY": str(repository / "summary.md")}
    return Action(repository, runner.temp, environ, {"url": database_url})


def test_a_pull_request_fails_at_the_dangerous_line_and_passes_once_it_is_safe(action):
    (action.workspace / THIRD).write_text(f"-- Where is it shipped to?\n\n{DANGEROUS}")
    failed = action.run("Rehearse")
    page = (action.temp / "confiture.html").read_text(encoding="utf-8")
    (action.workspace / THIRD).write_text(SAFE)
    passed = action.run("Rehearse")

    assert failed.code in (1, 4), failed.err
    assert re.search(rf"^::error file={THIRD},line=3[,:].*contains null values", failed.out, re.M), failed.out
    assert "contains null values" in page
    assert passed.code == 0, passed.out + passed.err
    assert "::error" not in passed.out
    summary = (action.workspace / "summary.md").read_text(encoding="utf-8")
    assert [line.split(":")[0] for line in summary.splitlines() if line.startswith("## ")] == [
        "## confiture dry-run",
        "## confiture dry-run",
    ]
    assert f"`{THIRD}:3" in summary


def test_the_dangerous_line_is_that_of_the_file(action):
    (action.workspace / THIRD).write_text("\n\nSELECT 1;\n\nSELECT\n    nope\nFROM orders;\n")

    action.run("Rehearse")

    (run,) = json.loads((action.workspace / "confiture.sarif").read_text())["runs"]
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    lines = (action.workspace / THIRD).read_text().splitlines()
    assert lines[region["startLine"] - 1][region["startColumn"] - 1 :] == "nope"


INDEX = "CREATE INDEX orders_placed ON orders (id);\n"
SEEDED = """\
CREATE TABLE plans (id int, name text);
INSERT INTO plans VALUES (1, 'free');
CREATE INDEX plans_name ON plans (name);
"""


def _clone_pull_request(repository: Path, machine: dict[str, str], sql: str, *options: str) -> Path:
    """Commit the example as main and the SQL on a branch; return a clone of the branch."""
    _git(repository, machine, "checkout", "--quiet", "-B", "main")
    _git(repository, machine, "add", "--all")
    _git(repository, machine, "commit", "--quiet", "--message", "base")
    _git(repository, machine, "checkout", "--quiet", "-b", "branch")
    (repository / THIRD).write_text(sql)
    _git(repository, machine, "add", "--all")
    _git(repository, machine, "commit", "--quiet", "--message", "more")
    clone = repository / "clone"
    _git(repository, machine, "clone", "--quiet", *options, f"file://{repository}", str(clone))
    return clone


@pytest.mark.parametrize(("sql", "code"), [(INDEX, 1), (SEEDED, 0), ("", 0)])
@pytest.mark.parametrize("options", [("--depth=1",), ()])
def test_the_action_judges_what_a_pull_request_adds_to_the_tables_of_its_base(
    action, machine, sql, code, options
):
    action.workspace = _clone_pull_request(action.workspace, machine, sql, "--branch=branch", *options)
    action.environ = {**action.environ, "GITHUB_BASE_REF": "main"}

    ran = action.run("Rehearse")

    assert ran.code == code, ran.out + ran.err
    assert ("index-not-concurrent" in ran.out) == bool(code)


@pytest.mark.parametrize(("sql", "code"), [(INDEX, 1), (SEEDED, 0)])
@pytest.mark.parametrize("merge_request", [True, False])
def test_the_gitlab_job_judges_what_a_branch_adds_to_the_tables_of_its_base(
    repository, machine, runner, database_url, sql, code, merge_request
):
    clone = _clone_pull_request(repository, machine, sql, "--branch=branch")
    job = gitlab_job(clone)
    (clone / ".confiture").mkdir()
    (clone / ".confiture/venv").symlink_to(runner.temp / "confiture")
    base = _git(clone, machine, "rev-parse", "origin/main").strip()
    pipeline = (
        {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base}
        if merge_request
        else {"CI_COMMIT_BRANCH": "branch", "CI_DEFAULT_BRANCH": "main"}
    )
    environ = {**machine, "CI_PROJECT_DIR": str(clone), **job["variables"], **pipeline}

    ran = shell("\n".join(job["script"]), clone, {**environ, "CONFITURE_DATABASE_URL": database_url})

    assert ran.code == code, ran.out + ran.err
    assert ("index-not-concurrent" in ran.out) == bool(code)


def test_what_a_person_gives_never_becomes_part_of_a_script():
    for step in Action(ROOT, ROOT, {}).steps:
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("name", ["url", "sarif"])
def test_an_input_that_is_shell_is_not_run(action, name):
    mark = action.workspace / "mark"
    action.inputs = {**action.inputs, name: f'x"; touch {mark}; $(touch {mark}) `touch {mark}`'}

    assert action.run("Rehearse").code != 0
    assert not mark.exists()


def test_every_step_of_the_action_is_a_program_or_pinned_to_a_version():
    for step in Action(ROOT, ROOT, {}).steps:
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))


def test_a_gitlab_job_fails_and_passes_on_the_embedded_server(repository, machine):
    job = gitlab_job(repository)
    environ = {**machine, "CI_PROJECT_DIR": str(repository), **job["variables"]}
    shutil.copytree(machine["PIP_FIND_LINKS"], repository / "vendor")  # as the template says
    for line in job["before_script"]:
        assert shell(line, repository, environ).code == 0
    script = "\n".join(job["script"])

    (repository / THIRD).write_text(f"\n{DANGEROUS}")
    failed = shell(script, repository, environ)
    first, *_ = json.loads((repository / "gl-code-quality-report.json").read_text())
    cases = ElementTree.parse(repository / "confiture-junit.xml").iter("testcase")
    errors = [case.attrib["classname"] for case in cases if case.find("error") is not None]
    (repository / THIRD).write_text(SAFE)
    passed = shell(script, repository, environ)

    assert failed.code in (1, 4), failed.err
    assert first["location"] == {"path": THIRD, "lines": {"begin": 2}}
    assert errors == [THIRD]
    assert passed.code == 0, passed.out + passed.err
    assert not [
        load
        for load in json.loads((repository / "gl-code-quality-report.json").read_text())
        if load["severity"] == "critical"
    ]
    kept = {*job["artifacts"]["paths"], *job["artifacts"]["reports"].values()}
    assert {item for item in kept if not (repository / item).exists()} == set()


@pytest.mark.parametrize(
    "file", [".github/workflows/migrations.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml"]
)
def test_the_configuration_takes_under_ten_lines(file):
    text = (EXAMPLE / file).read_text(encoding="utf-8")

    ours = text[text.find("migrations:") :] if "workflows" in file else text
    lines = [line for line in ours.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) < 10


@pytest.mark.parametrize(
    "file", [".github/workflows/migrations.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml"]
)
def test_the_docs_show_the_configuration_as_it_is(file):
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    text = (EXAMPLE / file).read_text(encoding="utf-8")
    without_comments = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))

    shown = re.findall(r"```yaml\n(.*?)```", page, re.S)

    generic = without_comments.replace("uses: ./", "uses: OWNER/confiture@v0.1.0").split("        with:\n")[0]
    generic = generic.replace("repo: ../..", "repo: https://HOST/OWNER/confiture").replace(
        "rev: HEAD", "rev: v0.1.0"
    )
    assert generic in shown


def test_precommit_stops_a_dangerous_migration(repository, machine, tmp_path):
    """The hook is installed by pre-commit itself, from a repository of ours, and called on what is staged."""
    source = _source(tmp_path / "confiture", machine)
    configuration = repository / ".pre-commit-config.yaml"
    revision = _git(source, machine, "rev-parse", "HEAD").strip()
    configuration.write_text(
        configuration.read_text().replace("../..", str(source)).replace("rev: HEAD", f"rev: {revision}")
    )
    _git(repository, machine, "add", "--all")
    passed = _precommit(repository, machine)
    (repository / THIRD).write_text("CREATE INDEX orders_by_day ON orders (day);\n")
    _git(repository, machine, "add", "--all")
    failed = _precommit(repository, machine)

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert f"{THIRD}:1" in failed.stdout


def _precommit(folder: Path, machine: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color=never"]
    return subprocess.run(command, cwd=folder, env=machine, capture_output=True, text=True, check=False)


def _source(folder: Path, machine: dict[str, str]) -> Path:
    """Make a repository of what pip and pre-commit need of ours."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        _git(folder, machine, *command)
    return folder


def _git(folder: Path, machine: dict[str, str], *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, cwd=folder, env=machine, capture_output=True, text=True, check=True)
    return done.stdout
