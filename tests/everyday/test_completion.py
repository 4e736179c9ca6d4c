"""Shell completion: the printed script is sound, and answers as the shell asks."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def shell(project, tmp_path):
    """Run a script in a shell that finds ``confiture`` on its PATH; return what it prints."""
    program = tmp_path / "bin" / "confiture"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m confiture "$@"\n')
    program.chmod(0o755)

    def run(script: str, name: str = "bash") -> str:
        environment = project.environment()
        environment["PATH"] = f"{program.parent}:{environment['PATH']}"
        done = subprocess.run(
            [name, "-c", script], env=environment, cwd=project.folder, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


ASK = """
source <(confiture completion bash)
COMP_WORDS=({words})
COMP_CWORD={number}
_confiture_completion confiture
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    "words, expected",
    [
        ("confiture st", {"status"}),
        ("confiture re", {"redo", "repair"}),
        ("confiture run --dr", {"--dry-run"}),
        ("confiture repair --", {"--accept-changed", "--forget", "--url"}),
        ("confiture run --log-format j", {"json"}),
        ("confiture completion z", {"zsh"}),
        ("confiture nonsense st", {"status"}),
    ],
)
def test_bash_completes(shell, words, expected):
    answer = shell(ASK.format(words=words, number=len(words.split()) - 1))

    assert expected <= set(answer.split())


@pytest.mark.parametrize("name, words", [("zsh", "compdef _confiture_completion"), ("fish", "complete ")])
def test_the_other_shells_have_a_script_too(project, name, words):
    answer = project("completion", name)

    assert answer.code == 0
    assert words in answer.out
    assert f"_CONFITURE_COMPLETE={name}_complete" in answer.out


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(shell):
    assert shell('eval "$(confiture completion zsh)" 2>/dev/null; whence -w _confiture_completion', "zsh")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_takes_the_script(shell):
    assert shell("confiture completion fish | source; complete -c confiture", "fish")


def test_an_unknown_shell_is_two(project):
    answer = project("completion", "tcsh")

    assert answer.code == 2
    assert "bash" in answer.err


def test_completion_needs_no_database_and_no_configuration(project):
    project.configure("this is not TOML")

    assert project("completion", "bash").code == 0
