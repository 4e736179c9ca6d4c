"""One reader for tables of settings: typed values, or a fault that says what to write instead."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from confiture.config.table_reader import (
    COUNT,
    DURATION_MS,
    DURATION_S,
    FLAG,
    POSITIVE,
    SIZE_BYTES,
    TABLE,
    TEXT,
    TEXTS,
    TIMEOUT,
    VERSION,
    Kind,
    LocatedTable,
    TableReader,
    make_choice,
)
from confiture.exceptions import ConfigurationFault

KEYS = {"rows": "How many rows a batch has.", "name": "", "mode": "", "counts": "Counts by name."}
MODE = make_choice("truncate", "on-conflict")


def reader(**values: Any) -> TableReader:
    return TableReader(values, KEYS, "plugin.jam", path=("plugin", "jam"))


def fault_of(value: object, kind: Kind[Any], key: str = "rows") -> ConfigurationFault:
    with pytest.raises(ConfigurationFault) as caught:
        reader(**{key: value}).require(key, kind)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (TEXT, " plum ", " plum "),
        (FLAG, False, False),
        (TEXTS, ["plum", "fig"], ("plum", "fig")),
        (COUNT, 0, 0),
        (POSITIVE, 3, 3),
        (DURATION_MS, "2s", 2_000.0),
        (DURATION_MS, 0, 0.0),
        (DURATION_MS, "0.5ms", 0.5),
        (DURATION_S, "30s", 30.0),
        (TIMEOUT, "1.5 s", "1.5 s"),
        (TIMEOUT, "0", "0"),
        (TIMEOUT, 0.0, "0.0"),
        (SIZE_BYTES, "1kB", 1_000),
        (VERSION, 5, "5"),
        (TABLE, {"a": 1}, {"a": 1}),
        (MODE, "truncate", "truncate"),
    ],
)
def test_every_kind_reads_its_values(kind, written, value):
    assert reader(rows=written).require("rows", kind) == value


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (TEXT, 5, "plugin.jam.rows must be a string, not a number"),
        (TEXT, " ", "plugin.jam.rows must be a string, not an empty string"),
        (TEXT, "a\0b", "plugin.jam.rows must be a string: it holds a NUL character"),
        (FLAG, "yes", "plugin.jam.rows must be true or false, not a string"),
        (FLAG, 1, "plugin.jam.rows must be true or false, not a number"),
        (TEXTS, "plum", "plugin.jam.rows must be a list of names, not a string"),
        (TEXTS, ["plum", 5], "plugin.jam.rows must be a list of names: it holds something else than names"),
        (COUNT, -1, "plugin.jam.rows must be a whole number, 0 or more, not a number"),
        (COUNT, True, "plugin.jam.rows must be a whole number, 0 or more, not a boolean"),
        (COUNT, 1.5, "plugin.jam.rows must be a whole number, 0 or more, not a number"),
        (POSITIVE, 0, "plugin.jam.rows must be a whole number above 0, not a number"),
        (DURATION_MS, True, 'plugin.jam.rows must be a time such as "2s", not a boolean'),
        (DURATION_MS, "soon", "plugin.jam.rows must be a time such as \"2s\": 'soon' is not a time"),
        (DURATION_MS, 250, '2s": 250 has no unit; write "250s", "250ms" or "250min"'),
        (DURATION_S, "30", '"30s": 30 has no unit; write "30s", "30ms" or "30min"'),
        (TIMEOUT, 0.5, '0.5 has no unit; write "0.5s", "0.5ms" or "0.5min"'),
        (TIMEOUT, " 5 ", '5 has no unit; write "5s", "5ms" or "5min"'),
        (TIMEOUT, "0.9ms", "'0.9ms' is shorter than PostgreSQL's shortest timeout, 1ms"),
        (TIMEOUT, "25d", "'25d' is longer than PostgreSQL's longest timeout, 24 days"),
        (SIZE_BYTES, 64, '64 has no unit; write "64MB", "64kB" or "64GB"'),
        (SIZE_BYTES, [], 'plugin.jam.rows must be a size such as "500MB", not a list'),
        (TABLE, date(2026, 1, 31), "plugin.jam.rows must be a table, not a date"),
        (MODE, "truncat", 'must be one of "truncate", "on-conflict": did you mean \'truncate\'?'),
        (MODE, "zzz", 'must be one of "truncate", "on-conflict": found another word'),
    ],
)
def test_a_fault_says_what_is_expected_and_what_was_found(kind, written, message):
    assert message in fault_of(written, kind).message


def test_the_hint_is_the_line_to_write():
    assert fault_of("many", COUNT).hint == "write rows = 0. How many rows a batch has."


def test_a_missing_key_is_named():
    with pytest.raises(ConfigurationFault, match=r"^plugin\.jam\.rows is missing$"):
        reader().require("rows", COUNT)


def test_a_missing_key_with_a_default_has_it():
    assert reader().get("rows", COUNT, 7) == 7


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigurationFault, match=r"^unknown key 'rwos' in plugin\.jam$") as caught:
        reader(rwos=5).check_keys()

    assert caught.value.hint == "did you mean 'rows'?"


def test_a_key_that_is_read_elsewhere_is_let_be():
    reader(on_failure="continue").check_keys(also=("on_failure",))


def test_a_value_is_never_shown_for_it_may_be_a_password():
    secret = "s3cr3t"

    assert secret not in f"{fault_of([secret], TEXT)} {fault_of(secret, FLAG)} {fault_of(secret, MODE)}"


def test_tables_inside_are_read_by_name_and_their_keys_are_checked():
    table = reader(counts={"sold": {"rows": 5}})

    assert table.get_named_tables("counts", KEYS)["sold"].require("rows", COUNT) == 5
    with pytest.raises(ConfigurationFault, match=r"plugin\.jam\.counts\.sold must be a table, not a number"):
        reader(counts={"sold": 5}).get_named_tables("counts", KEYS)
    with pytest.raises(ConfigurationFault, match=r"unknown key 'rwos' in plugin\.jam\.counts\.sold"):
        reader(counts={"sold": {"rwos": 5}}).get_named_tables("counts", KEYS)


@pytest.mark.parametrize(("written", "count"), [({"rows": 5}, 1), ([{"rows": 5}, {}], 2), ([], 0)])
def test_one_table_or_several_are_a_list(written, count):
    assert len(reader(counts=written).get_table_list("counts", KEYS)) == count


def test_a_located_table_adds_file_and_line_and_is_a_plain_dictionary_otherwise():
    table = LocatedTable({"rows": "many"}, lambda path: f"confiture.toml:{len(path)}")

    assert table == {"rows": "many"}
    with pytest.raises(ConfigurationFault, match=r"^confiture\.toml:3: plugin\.jam\.rows must be"):
        TableReader(table, KEYS, "plugin.jam", locate=table.locate, path=("plugin", "jam")).get(
            "rows", COUNT, 0
        )
