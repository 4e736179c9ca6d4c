"""The page of lint --schema shows what its example really prints, and keys and rules that there are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from confiture.config.schema_policy import CQRS_KEYS, IGNORE_KEYS, SCHEMA_KEYS, STRUCTURE_KEYS, TENANCY_KEYS
from confiture.config.settings import Given, load_settings
from confiture.rules.registry import collect_rules

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "schema-lint.md").read_text(encoding="utf-8")


def load_builder() -> ModuleType:
    """Return the script that pastes the session."""
    spec = importlib.util.spec_from_file_location("build_schema_lint", DOCS / "build_schema_lint.py")
    assert spec
    assert spec.loader
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    return builder


@pytest.mark.slow
def test_the_session_on_the_page_is_what_the_example_prints():
    version = r"PostgreSQL [\d.]+"
    builder = load_builder()

    pasted = builder.paste(PAGE, builder.run_session())

    assert re.sub(version, "", pasted) == re.sub(version, "", PAGE)


def test_the_configuration_on_the_page_can_be_used_and_has_every_key(tmp_path):
    (found,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (tmp_path / "pyproject.toml").write_text(found)

    policy = load_settings(Given(), cwd=tmp_path, environ={}).schema_policy

    keys = {*SCHEMA_KEYS, *CQRS_KEYS, *TENANCY_KEYS, *STRUCTURE_KEYS, *IGNORE_KEYS}
    assert {key for key in keys if not re.search(rf"\b{key}\b", found)} == set()
    assert policy
    assert policy.cqrs.filled == {"r_rates": "the nightly import"}
    assert policy.structure.partition_above_bytes == 100 * 10**9


def test_every_rule_that_the_page_names_exists():
    known = {rule.id for rule in collect_rules()}

    assert set(re.findall(r"\b(?:schema|tenant|cqrs)-[a-z-]+[a-z]", PAGE)) - known - {"schema-lint"} == set()
