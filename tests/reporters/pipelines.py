"""What a CI service does with the files that are given to it: just enough to run ours as shell."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import define, field, frozen

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ci-gate"


def read(file: Path) -> Any:
    """Read a YAML file, ``on:`` as the word that it is."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


@frozen
class Ran:
    """What a script came to."""

    code: int
    out: str
    err: str


def shell(script: str, folder: Path, environment: Mapping[str, str]) -> Ran:
    """Run a script as GitHub does where ``shell: bash``."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@define
class Action:
    """Our composite action, on a runner of its own.

    Attributes:
        workspace: Where the repository is checked out.
        temp: The runner's folder for temporary files.
        environ: What the runner's shell has.
        inputs: What ``with:`` gives, beside the defaults.
    """

    workspace: Path
    temp: Path
    environ: Mapping[str, str]
    inputs: Mapping[str, str] = field(factory=dict)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps, as written."""
        return list(read(ROOT / "action.yml")["runs"]["steps"])

    def resolved(self, text: str) -> str:
        """Put values in for the expressions in ``text``, as the runner does."""
        declared = read(ROOT / "action.yml")["inputs"]
        assert self.inputs.keys() <= declared.keys()
        known = {f"inputs.{name}": item["default"] for name, item in declared.items()}
        known |= {f"inputs.{name}": value for name, value in self.inputs.items()}
        known |= {"github.action_path": str(ROOT), "runner.temp": str(self.temp)}
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found[1]], text)

    def run(self, name: str) -> Ran:
        """Run one step by its name."""
        (step,) = [each for each in self.steps if each["name"] == name]
        own = {key: self.resolved(value) for key, value in step.get("env", {}).items()}
        runner = {"RUNNER_TEMP": str(self.temp), "GITHUB_WORKSPACE": str(self.workspace)}
        folder = self.workspace / self.resolved(step.get("working-directory", "."))
        return shell(step["run"], folder, {**self.environ, **runner, **own})


def gitlab_job(folder: Path) -> dict[str, Any]:
    """Return the one job of a ``.gitlab-ci.yml``, with what it includes and extends put in."""
    document = read(folder / ".gitlab-ci.yml")
    for item in document.pop("include"):
        document |= read(folder / item["local"])
    ((_, job),) = [(name, item) for name, item in document.items() if not name.startswith(".")]
    return {**document[job.pop("extends")], **job}
