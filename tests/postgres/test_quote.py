"""Names are quoted as the server quotes them."""

from __future__ import annotations

from confiture.sql.quote import quote_ident

ODD_NAMES = ["Jam", "a b", "a$", "$a", "2a", "é", 'a"b', "_", "a.b", "ﬁ"]


def test_every_keyword_and_odd_name_is_spelled_as_the_server_spells_it(database):
    """A keyword of another major version may be quoted here although this server would not."""
    names = [
        word for (word,) in database.execute("SELECT word FROM pg_get_keywords()").fetchall()
    ] + ODD_NAMES
    spelled = database.execute(
        "SELECT name, quote_ident(name) FROM unnest(%s::text[]) AS name", [names]
    ).fetchall()

    assert [name for name, sql in spelled if sql != name and quote_ident(name) != sql] == []
    plain = [name for name, sql in spelled if sql == name and quote_ident(name) != sql]
    assert len(plain) <= 20, plain
