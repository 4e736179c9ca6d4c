"""The file of accepted findings: sorted, a finding a line, and it only shrinks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.exceptions import ConfigurationFault
from confiture.gate import ACCEPTED_FILE as FILE
from confiture.gate.accepted import (
    AcceptedFinding,
    compare_accepted,
    format_accepted,
    parse_accepted,
    select_acceptable,
)
from tests.gate.reports import finding

pytestmark = pytest.mark.slow

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ENTRIES = st.builds(AcceptedFinding, WORDS, WORDS, WORDS, st.sampled_from(["measured", "static"]), WORDS)
SETS = st.sets(ENTRIES, max_size=6)


@given(SETS)
def test_what_is_written_is_read_again_in_order(entries):
    assert parse_accepted(format_accepted(entries), FILE) == tuple(sorted(entries))


@given(SETS)
def test_every_finding_has_a_line_of_its_own(entries):
    assert len(format_accepted(entries).splitlines()) == len(entries) + 4


@given(SETS, SETS)
def test_nothing_is_kept_that_was_not_there_before(before, found):
    change = compare_accepted(before, found, before)

    assert {*change.kept} <= before
    assert {*change.kept} | {*change.gone} == before
    assert not {entry.fingerprint for entry in change.new} & {item.fingerprint for item in before}


@given(SETS, SETS)
def test_what_was_not_looked_at_is_not_gone(before, found):
    assert compare_accepted(before, found, ()).gone == ()


def test_limits_notes_and_what_is_ignored_are_not_accepted():
    found = [
        finding("a"),
        finding("b", "warning"),
        finding("c", "info"),
        finding("d", ignored=True),
        finding("limit-block"),
    ]

    assert [entry.rule for entry in select_acceptable(found)] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "null",
        '{"accepted": {}, ',
        '{"accepted": [1]}',
        '{"accepted": [{"rule": "a"}]}',
        '{"accepted": [{"file": 1, "rule": "", "relation": "", "basis": "", "fingerprint": ""}]}',
    ],
)
def test_a_file_that_was_broken_is_a_fault_that_names_it(text):
    with pytest.raises(ConfigurationFault, match=FILE) as caught:
        parse_accepted(text, FILE)

    assert "confiture accept" in (caught.value.hint or "")


def test_a_conflict_left_in_the_file_is_named_with_its_line():
    text = '{\n  "accepted": [\n<<<<<<< HEAD\n  ]\n}\n'

    with pytest.raises(ConfigurationFault, match=f"{FILE}:3:1: this is not JSON"):
        parse_accepted(text, FILE)
