"""The page of the gate says what the gate does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import fields

from confiture.cli.commands import confiture
from confiture.config.gate_policy import GatePolicy
from confiture.config.settings import Given, load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")


def flags_of(name: str) -> set[str]:
    context = confiture.make_context("confiture", [name], resilient_parsing=True)
    command = confiture.get_command(context, name)
    assert command is not None
    return {flag for parameter in command.params for flag in parameter.opts}


def test_the_policy_on_the_page_can_be_used_and_has_every_key(tmp_path):
    (found,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (tmp_path / "pyproject.toml").write_text(found)

    policy = load_settings(Given(), cwd=tmp_path, environ={}).gate

    assert [field.name for field in fields(GatePolicy) if field.name not in found] == []
    assert policy.max_block is not None
    assert policy.max_block.most == 2_000
    assert policy.find_block_limit("public.orders") is not policy.max_block


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("dry-run", {"--no-gate", "--since", "--strict", "--allow-empty"}),
        ("run", {"--gate", "--no-gate", "--since", "--strict", "--allow-empty"}),
        ("lint", {"--no-gate", "--since", "--strict", "--allow-empty"}),
        ("accept", {"--static", "--add", "--prune", "--strict"}),
    ],
)
def test_every_flag_of_the_gate_is_there_and_on_the_page(command, flags):
    assert flags <= flags_of(command)
    assert [flag for flag in flags if flag not in PAGE] == []
