"""The page says nothing that the command line does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from confiture.cli.commands import COMMANDS, confiture

PAGE = (Path(__file__).parents[2] / "docs" / "everyday.md").read_text()
EVERYDAY = ("redo", "verify", "baseline", "repair", "history", "dump", "completion")
SHOWN = sorted(set(re.findall(r"confiture ((?:[a-z-]+)(?: [^`\n#)]+)?)", PAGE)))


def flags_of(name: str) -> set[str]:
    context = confiture.make_context("confiture", [name], resilient_parsing=True)
    command = confiture.get_command(context, name)
    assert command is not None
    return {flag for parameter in command.params for flag in parameter.opts}


@pytest.mark.parametrize("line", [item for item in SHOWN if item.split()[0] in COMMANDS])
def test_every_flag_that_the_page_shows_is_one_of_the_commands(line):
    name, *words = line.split()

    assert {word for word in words if word.startswith("--")} <= flags_of(name)


@pytest.mark.parametrize("name", EVERYDAY)
def test_every_command_of_the_page_is_on_it(name):
    assert f"confiture {name}" in PAGE
    assert name in COMMANDS


def test_every_flag_of_repair_and_baseline_is_on_the_page():
    own = {"--accept-changed", "--forget", "--dry-run"}

    assert own <= flags_of("repair") | flags_of("baseline")
    assert {flag for flag in own if flag in PAGE} == own
