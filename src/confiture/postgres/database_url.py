"""Refuse a database URL that libpq would read otherwise than it is written.

libpq names what it cannot use in its messages: the host ``s3cr3t@db`` of a URL whose password holds an ``@``.
So the URL is read here first, by libpq's rules, and a fault names the character to escape and no value.
"""

from __future__ import annotations

import re
from typing import NoReturn

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict

from confiture.config.urls import EMBEDDED_URL
from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConnectionFault

_SCHEMES = ("postgresql://", "postgres://")
_FORM = "postgresql://user@host:5432/name, or key=value pairs"
URL_HINT = f"write {_FORM}"
_SCHEME = re.compile(r"((?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]*)://")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_UNKNOWN_OPTION = re.compile(r'(?:invalid connection option|invalid URI query parameter):? "(.*)"')
_HIGHEST_PORT = 65_535
# Options of other tools' URLs. Any other unknown word may be part of a password that was not escaped.
_OTHER_OPTIONS = (
    *("schema", "currentSchema", "search_path", "pgbouncer", "connection_limit", "pool_timeout", "charset"),
    *("encoding", "pool_size", "max_overflow", "prepared_statements", "useSSL"),
)


def check_url(url: str) -> None:
    """Refuse a URL or conninfo that libpq cannot read, or would read otherwise than it is written.

    Raises:
        ConnectionFault: It names the character, the scheme or the option, and never a value.
    """
    if url.strip() == EMBEDDED_URL:
        raise ConnectionFault(
            f"{EMBEDDED_URL} names no server here: only commands start the embedded one",
            hint=f"give the URL of a server: {_FORM}",
        )
    if url.lstrip().startswith(_SCHEMES):
        _check_uri(url)
    elif "=" not in url.partition(":")[0]:
        _refuse_scheme(url.strip())
    _check_parsed(url)


def _check_uri(url: str) -> None:
    if url[0].isspace() or re.search(r"[\n\r\t\v\f]|\S +\S", url):
        _refuse("has a space or a line break", "remove it, or write %20 for a space")
    if _BAD_PERCENT.search(url):
        _refuse("has a % that begins no percent-encoded character", "write %25 for %")
    userinfo, hosts, path = _split_uri(url.partition("://")[2])
    if "@" in hosts:
        _refuse("has an @ inside its user or password", "write %40 for @")
    if "@" in path:
        _refuse("has a / inside its user or password", "write %2F for /, and %40 for another @")
    if re.search(r"\?(?:.*&)?\w+=", userinfo):
        _refuse("has an @ in its options, which libpq reads as the end of the user", "write %40 for @")


def _split_uri(rest: str) -> tuple[str, str, str]:
    """Return user and password, hosts with ports, and path, as libpq divides them."""
    # libpq looks for an @ only up to the first slash, and takes the first one.
    end = re.search(r"[@/]", rest)
    userinfo, rest = (rest[: end.start()], rest[end.end() :]) if end and end[0] == "@" else ("", rest)
    hosts, _, path = rest.partition("?")[0].partition("/")
    return userinfo, hosts, path


def _refuse_scheme(url: str) -> NoReturn:
    word = url.partition(":")[0].lower()
    if "@" not in url and did_you_mean(word, ["embedded"]):
        raise ConnectionFault(f"{word!r} is no database URL; did you mean {EMBEDDED_URL!r}?", hint=URL_HINT)
    # Before a lone colon may be a user, and after it a password; only what ends in :// is surely a scheme.
    if (found := _SCHEME.match(url)) is None:
        raise ConnectionFault("libpq does not understand the database URL: it has no scheme", hint=URL_HINT)
    scheme = found[1].removeprefix("jdbc:").partition("+")[0].lower()
    near = "; did you mean 'postgresql://'?" if did_you_mean(scheme, ["postgresql", "postgres"]) else ""
    raise ConnectionFault(f"the database URL has the unknown scheme '{found[0]}'{near}", hint=URL_HINT)


def _check_parsed(url: str) -> None:
    try:
        ports = str(conninfo_to_dict(url).get("port") or "")
    except ProgrammingError as error:
        # Not chained: libpq's message quotes what it stumbled over, which may be part of a password.
        raise _explain(str(error), url) from None
    for port in ports.split(","):
        if port and not (re.fullmatch(r" *[0-9]{1,5} *", port) and 0 < int(port) <= _HIGHEST_PORT):
            _refuse(
                f"has a port that is no number from 1 to {_HIGHEST_PORT}",
                "if it is part of a password, write %3A for :, %2F for / and %40 for @",
            )


def _explain(message: str, url: str) -> ConnectionFault:
    option = found[1] if (found := _UNKNOWN_OPTION.search(message)) else None
    # A word behind an & of a password may happen to be a little like an option; a typo is much like one.
    near = did_you_mean(option, _list_options(), likeness=0.75) if option and option.isidentifier() else ""
    if near or option in _OTHER_OPTIONS:
        hint = near or "remove it; the search path of a session: options=-csearch_path%3Dname"
        return ConnectionFault(f"the database URL has the unknown option {option!r}", hint=hint)
    if option is not None and url.startswith(_SCHEMES):
        hint = "remove it, or write %26 for & and %3F for ? in a password"
        return ConnectionFault("the database URL has an option that libpq does not know", hint=hint)
    return ConnectionFault("libpq does not understand the database URL", hint=URL_HINT)


def _list_options() -> list[str]:
    return [option.keyword.decode() for option in pq.Conninfo.get_defaults()]


def _refuse(what: str, escape: str) -> NoReturn:
    raise ConnectionFault(f"the database URL {what}", hint=f"{escape}; the form is {_FORM}")
