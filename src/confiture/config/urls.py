"""Database URLs: variables in them expanded, passwords in them masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

EMBEDDED_URL = "embedded:"
"""Names the server that commands start, and no database of a user's."""
SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
_KEYWORD = re.compile(rf"\b({'|'.join(SECRETS)})(\s*=\s*)('(?:\\.|[^'\\])*'?|(?:\\.|[^\s\\])*)", re.I | re.S)
_NOT_A_PORT = re.compile(r"^([^:/?\[]*):(?!\d*(?:[,/?]|$))[^/?]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PAIR = re.compile(r"\s*\w+\s*=")
_MASK = "***"


def is_url(text: str) -> bool:
    """Return True if a text names a database, rightly or not, and no file: a URL, or key=value pairs."""
    return "://" in text or _PAIR.match(text) is not None or text.strip() == EMBEDDED_URL


def mask_password(url: str) -> str:
    """Return ``url`` fit to be shown: every password in it is masked."""
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"\w[\w+.-]*", scheme):
        return re.sub(r":[^:@/\s]+@", f":{_MASK}@", _KEYWORD.sub(rf"\1\2{_MASK}", url))
    rest, question, query = _mask_userinfo(rest).partition("?")
    return scheme + separator + rest + question + "&".join(map(_mask_pair, query.split("&")))


def _mask_userinfo(rest: str) -> str:
    # A password that was not percent-encoded may hold @, / and ?: rather mask too much.
    before_query = rest.partition("?")[0]
    end = before_query.rfind("@") if "@" in before_query else rest.rfind("@")
    if end < 0:
        return _NOT_A_PORT.sub(rf"\1:{_MASK}", rest)
    user, colon, _password = rest[:end].partition(":")
    return f"{user}:{_MASK}{rest[end:]}" if colon else rest


def _mask_pair(pair: str) -> str:
    key, equals, _value = pair.partition("=")
    return f"{key}={_MASK}" if equals and unquote(key).strip().lower() in SECRETS else pair


def expand_variables(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with every ``${VAR}`` replaced.

    Raises:
        ValueError: A variable is not set, or a brace is not closed; the text itself is not repeated.
    """

    def read_variable(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise ValueError(f"the environment variable {found[1]} is not set")
        return environ[found[1]]

    if "${" in _VARIABLE.sub("", text):
        raise ValueError("there is a ${ without a variable's name and a closing brace")
    return _VARIABLE.sub(read_variable, text)
