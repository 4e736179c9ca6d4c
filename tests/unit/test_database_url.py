"""A database URL is read by libpq as it is written, or refused without a word of what may be a password."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from confiture.exceptions import ConnectionFault
from confiture.postgres.database_url import check_url

SECRET = "s3cr3t"
SPECIALS = st.sampled_from([*"@:/?#%&=[]\\'\" ,;+", SECRET, "12", "%41", "x=y", "user", "\n"])
PASSWORDS = st.lists(SPECIALS, min_size=1, max_size=6).map("".join)


def refused(url: str) -> str:
    """Return what is said about a URL."""
    with pytest.raises(ConnectionFault) as caught:
        check_url(url)
    # A traceback prints the cause too, and an application may log it.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return f"{caught.value.message}\n{caught.value.hint}"


@given(PASSWORDS)
def test_a_password_is_read_as_it_is_written_or_refused_untold(password):
    url = f"postgresql://u:{password}@host/db"

    try:
        check_url(url)
    except ConnectionFault as fault:
        said = f"{fault.message} {fault.hint}"
    else:
        read = conninfo_to_dict(url)
        said = ""
        assert (read["password"], read["host"], read["dbname"]) == (unquote(password), "host", "db")
    assert SECRET not in said


@given(PASSWORDS)
def test_a_percent_encoded_password_is_never_refused(password):
    url = f"postgresql://u:{quote(password, safe='')}@host/db"

    check_url(url)

    assert conninfo_to_dict(url)["password"] == password


@pytest.mark.parametrize(
    ("url", "character"),
    [
        (f"postgresql://u:a@{SECRET}@host/db", "%40 for @"),
        (f"postgresql://u:a@b/{SECRET}@host/db", "%2F for /"),
        (f"postgres://u:{SECRET}/b@host/db", "%2F for /"),
        (f"postgresql://u:{SECRET}%zz@host/db", "%25 for %"),
        (f"postgresql://u:{SECRET} x@host/db", "%20 for a space"),
        (f"postgresql://u:{SECRET}@host/db\n", "line break"),
        (f"postgresql://u@host:{SECRET}/db", "%3A for :"),
        (f"postgresql://u@host:{SECRET}", "%3A for :"),
        ("postgresql://u@host:1234567/db", "%3A for :"),
        (f"postgresql://host,other:{SECRET}/db", "%3A for :"),
        (f"postgresql://host?password={SECRET}@b", "%40 for @"),
        (f"postgresql://host/db?password=a&{SECRET}=c", "%26 for &"),
        (f"host=host port={SECRET}", "%3A for :"),
    ],
)
def test_the_fault_names_the_character_to_escape(url, character):
    said = refused(url)

    assert character in said
    assert SECRET not in said
    assert "1234567" not in said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgressql://h/d", "unknown scheme 'postgressql://'; did you mean 'postgresql://'?"),
        ("POSTGRESQL://h/d", "unknown scheme 'POSTGRESQL://'; did you mean 'postgresql://'?"),
        ("postgresql+asyncpg://h/d", "unknown scheme 'postgresql+asyncpg://'; did you mean 'postgresql://'?"),
        ("jdbc:postgresql://h/d", "unknown scheme 'jdbc:postgresql://'; did you mean 'postgresql://'?"),
        ("mysql://h/d", "unknown scheme 'mysql://'\n"),
        ("embeded:", "did you mean 'embedded:'?"),
        ("embedded", "did you mean 'embedded:'?"),
        ("postgresql://h/d?sslmod=require", "unknown option 'sslmod'\ndid you mean 'sslmode'?"),
        ("host=h sslmod=require", "unknown option 'sslmod'\ndid you mean 'sslmode'?"),
        ("postgresql://h/d?schema=jam", "unknown option 'schema'\n"),
        ("embedded:", "only commands start the embedded one"),
    ],
)
def test_a_misspelt_scheme_or_option_is_named(url, words):
    assert words in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///jam?host=/tmp",
        "postgres://u:p%40@one:1,[::1]:5432/jam?sslmode=require&ssl=true",
        "postgresql://u:p:q?r@host/jam?password=a@b",
        "host=/tmp dbname='a b' password='p@:/ =x' options='-c search_path=x'",
        "password=x@y=z host=h port=1,2",
        "service=jam",
    ],
)
def test_what_libpq_reads_as_it_is_written_is_not_refused(url):
    check_url(url)
