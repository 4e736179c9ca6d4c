"""Versions compare number by number; a file's name says version, name and part."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.exceptions import UsageFault
from confiture.migrations.version import (
    FileName,
    check_version,
    choose_next_version,
    parse_filename,
    parse_version,
)

NOON = datetime(2026, 11, 23, 12, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("2", "10"),
        ("03.04.00_01", "03.04.00_50"),
        ("1.9", "1.10"),
        ("1", "1.0"),
        ("1_2", "1_10"),
        ("9", "1000"),
    ],
)
def test_versions_compare_number_by_number(lower, higher):
    assert parse_version(lower) < parse_version(higher)


@pytest.mark.parametrize(("one", "other"), [("1", "001"), ("03.04", "3.4"), ("1.2", "1_2")])
def test_leading_zeros_and_the_separator_make_no_difference(one, other):
    assert parse_version(one) == parse_version(other)


@pytest.mark.parametrize("version", ["", "abc", "1.", "1..2", "-1", "1 2", "٣", "1\n", "1' OR '1"])
def test_what_is_not_a_version_is_a_usage_fault(version):
    with pytest.raises(UsageFault, match="is not a version") as caught:
        check_version(version)

    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("20200101_2fa.sql", FileName("20200101", "2fa", "whole")),
        ("20200101.sql", FileName("20200101", "", "whole")),
        ("1_2.sql", FileName("1_2", "", "whole")),
        ("03.04.00_50_post_x.sql", FileName("03.04.00_50", "post_x", "whole")),
        ("001_orders.up.sql", FileName("001", "orders", "up")),
        ("001_orders.down.sql", FileName("001", "orders", "down")),
        ("1.up.sql", FileName("1", "", "up")),
        ("1.2.sql", FileName("1.2", "", "whole")),
        ("1_a.b.sql", FileName("1", "a.b", "whole")),
        ("1__a.sql", FileName("1", "_a", "whole")),
        ("1_orders.check.sql", FileName("1", "orders", "check")),
        ("1_orders.backfill.sql", FileName("1", "orders", "backfill")),
        ("1_fill.py", FileName("1", "fill", "python")),
        ('1_it\'s "50%"\nñ.sql', FileName("1", 'it\'s "50%"\nñ', "whole")),
    ],
)
def test_a_file_name_says_version_name_and_part(file, said):
    assert parse_filename(file) == said


@pytest.mark.parametrize(
    "file", ["1a_b.sql", "1_.sql", "1..2_a.sql", "1.2a_x.sql", "x_1.sql", "1_a.SQL", "1_a.txt", "٣_a.sql"]
)
def test_other_names_say_nothing(file):
    assert parse_filename(file) is None


@given(
    st.lists(st.integers(0, 10**14), min_size=1, max_size=4),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
        lambda name: not name[0].isdecimal()
    ),
)
def test_version_and_name_are_found_again(parts, name):
    version = ".".join(map(str, parts))

    said = parse_filename(f"{version}_n{name}.py")

    assert said == FileName(version, f"n{name}", "python")


def test_a_new_version_is_the_time_in_utc():
    in_paris = NOON.astimezone(timezone(timedelta(hours=1)))

    assert choose_next_version([], in_paris) == "20261123123005"


@pytest.mark.parametrize(
    ("existing", "following"),
    [(["001", "002"], "003"), (["9", "10"], "11"), (["0099"], "0100"), (["99"], "100")],
)
def test_a_numbered_folder_goes_on_with_the_next_number(existing, following):
    assert choose_next_version(existing, NOON) == following


@pytest.mark.parametrize("existing", [["20250101000000"], ["03.04.00_50"], ["001", "20250101000000"]])
def test_other_folders_go_on_with_the_time(existing):
    assert choose_next_version(existing, NOON) == "20261123123005"


def test_two_migrations_of_one_second_get_two_versions():
    assert choose_next_version(["20261123123005", "20261123123006"], NOON) == "20261123123007"
