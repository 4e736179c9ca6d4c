"""``[tool.confiture.gate]``: every key read in plain units, everything else named with its line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.config.gate_policy import GatePolicy, Limit
from confiture.config.settings import Given, load_settings
from confiture.exceptions import ConfigurationFault
from confiture.units import format_size, parse_size


@pytest.fixture
def gate(tmp_path):
    """Read the gate of a configuration's text."""

    def read(text: str, **given: Any) -> GatePolicy:
        (tmp_path / "confiture.toml").write_text(text)
        return load_settings(Given(**given), cwd=tmp_path, environ={}).gate

    return read


def test_without_a_table_errors_fail_and_nothing_is_limited(gate):
    assert gate('schema = "jam"') == GatePolicy(fail_on="error")


def test_every_key_is_read(gate):
    policy = gate("""
[gate]
fail_on = "warning"
severity = { drop-table = "off" }
judge_after = "0005"
max_block = "2s"
max_duration = "10min"
max_hook_duration = "1500ms"
max_rewritten = "1GB"
max_wal = "500 MB"
max_estimated = "1h"

[gate.max_block_of]
"public.orders" = "500ms"
""")

    assert policy == GatePolicy(
        fail_on="warning",
        severity={"drop-table": "off"},
        judge_after="0005",
        max_block=Limit(2_000, "2s"),
        max_block_of={"public.orders": Limit(500, "500ms")},
        max_duration=Limit(600_000, "10min"),
        max_hook_duration=Limit(1_500, "1500ms"),
        max_rewritten=Limit(1_000_000_000, "1GB"),
        max_wal=Limit(500_000_000, "500 MB"),
        max_estimated=Limit(3_600_000, "1h"),
    )


def test_an_environment_lays_its_own_over_it_key_by_key(gate):
    text = """
[gate]
fail_on = "warning"
max_block = "2s"
severity = { a = "off", b = "off" }
[env.ci.gate]
max_block = "1s"
severity = { b = "error" }
"""

    assert gate(text, env="ci") == GatePolicy(
        fail_on="warning", max_block=Limit(1_000, "1s"), severity={"a": "off", "b": "error"}
    )


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('fail_ona = "error"', "unknown key 'fail_ona'", "did you mean 'fail_on'?"),
        ('zzz = "error"', "unknown key 'zzz'", "the keys are fail_on, severity, judge_after, max_block"),
        ('fail_on = "info"', 'gate.fail_on must be one of "error", "warning", "never"', None),
        ("fail_on = [1]", 'gate.fail_on must be one of "error", "warning", "never"', None),
        ('severity = "error"', "gate.severity must be a table, not a string", None),
        ('severity = { a = "bad" }', "gate.severity.a must be one of", None),
        (
            'max_block = "2 jams"',
            "gate.max_block must be a time such as \"2s\": '2 jams' is not a time",
            None,
        ),
        ("max_block = true", 'gate.max_block must be a time such as "2s", not a boolean', None),
        ('max_wal = "2s"', "gate.max_wal must be a size such as \"500MB\": '2s' is not a size", None),
        ("max_block = 5", '5 has no unit; write "5s", "5ms" or "5min"', None),
        ('max_wal = "64"', '64 has no unit; write "64MB", "64kB" or "64GB"', None),
        ("max_wal = false", 'gate.max_wal must be a size such as "500MB", not a boolean', None),
        ('judge_after = "latest"', "gate.judge_after must be a version: 'latest' is not a version", None),
        (
            'max_block_of = { orders = "1s" }',
            "gate.max_block_of holds 'orders', which names no schema",
            'write it with its schema, in quotes: "public.orders"',
        ),
        ('max_block_of = { "a.b" = "x" }', "gate.max_block_of.a.b must be a time", None),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(gate, line, message, hint):
    with pytest.raises(ConfigurationFault) as caught:
        gate(f'schema = "jam"\n[gate]\n{line}\n')

    assert caught.value.message.startswith("confiture.toml:3: ")
    assert message in caught.value.message
    assert (caught.value.hint or "").startswith(hint or "")


def test_an_environments_gate_is_checked_too(gate):
    with pytest.raises(ConfigurationFault, match=r"confiture.toml:2: unknown key 'max_blok'") as caught:
        gate('[env.ci.gate]\nmax_blok = "1s"\n')

    assert caught.value.hint == "did you mean 'max_block'?"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512B", 512),
        ("1kB", 1_000),
        ("1KB", 1_000),
        ("64KiB", 65_536),
        ("1.5 GB", 1_500_000_000),
        ("2TiB", 2 * 1024**4),
    ],
)
def test_sizes_are_in_plain_units(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "1 jam", "-1GB", "1e9", "1iB", "1PB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size; write 500MB, 1GB or 64KiB"):
        parse_size(text)


@given(st.integers(0, 10**15 - 10**12))
def test_a_size_in_words_is_read_back_about_as_large(count):
    assert parse_size(format_size(count)) == pytest.approx(count, rel=0.06)


@pytest.mark.parametrize(
    ("text", "arguments", "line"),
    [
        ('[gate]\nfail_on = "error"\n[gate.severity]\nindex-not-concurent = "off"\n', (), 4),
        ('[gate]\nseverity = { index-not-concurent = "off" }\n', (), 2),
        ('[env.ci.gate.severity]\nindex-not-concurent = "off"\n', ("--env", "ci"), 2),
    ],
)
def test_a_severity_of_an_unknown_rule_names_its_place_and_the_nearest_rule(project, text, arguments, line):
    project.write("1_it.sql", "SELECT 1;")
    project.configure(text)

    answers = [project(command, *arguments) for command in ("lint", "dry-run")]

    for answer in answers:
        assert answer.code == 2
        assert f"error: confiture.toml:{line}: severity names the rule 'index-not-concurent'" in answer.err
        assert "did you mean 'index-not-concurrent'?" in answer.err
