"""One function quotes identifiers, and it does so as PostgreSQL does."""

from __future__ import annotations

import pytest

from confiture.rehearsal.trace.functions import find_not_seen
from confiture.sql.procedural import parse_body
from confiture.sql.quote import quote_ident, quote_name


@pytest.mark.parametrize(
    "name, sql",
    [
        ("jam", "jam"),
        ("_jam2", "_jam2"),
        ("user", '"user"'),
        ("order", '"order"'),
        ("Jam", '"Jam"'),
        ("2jam", '"2jam"'),
        ("cost$", '"cost$"'),
        ('odd "jam"', '"odd ""jam"""'),
        ("é", '"é"'),
        ("", '""'),
    ],
)
def test_a_name_is_quoted_only_if_it_must_be(name, sql):
    assert quote_ident(name) == sql


def test_a_qualified_name_leaves_out_what_is_not_there():
    assert (quote_name("public", "user"), quote_name(None, "jam")) == ('public."user"', "jam")


@pytest.mark.parametrize("table", ["user", "order"])
def test_a_lock_that_was_seen_on_a_table_with_a_reserved_name_is_not_missing(table):
    block = f'DO $$ BEGIN LOCK TABLE "{table}" IN SHARE MODE; EXCEPTION WHEN others THEN NULL; END $$'

    assert find_not_seen(parse_body(block), {f'public."{table}"'}) == ()
    assert [lock.relation for lock in find_not_seen(parse_body(block))] == [f'"{table}"']
