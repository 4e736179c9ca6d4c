"""Replace the delimiters of Liquibase's statements with semicolons."""

from __future__ import annotations

import re

from confiture.sql.lexer import tokenize

# Without endDelimiter, Liquibase also splits where one of these is alone on a line.
_ALONE = ("go", "/")


def replace_delimiter(text: str, delimiter: str | None) -> str:
    """Return a text of the same length whose statements end with semicolons.

    ``delimiter`` is ``endDelimiter`` as written; ``None`` for Liquibase's own.
    """
    if delimiter is None:
        return _replace(text, rf"^[ \t]*(?P<sign>{'|'.join(_ALONE)})[ \t]*$")
    sign = delimiter.replace("\\n", "").replace("\n", "").rstrip("$").strip()
    if sign in ("", ";"):
        return text
    escaped = re.escape(sign)
    if sign.lower() in _ALONE or delimiter.startswith(("\\n", "\n")):
        return _replace(text, rf"^[ \t]*(?P<sign>{escaped})[ \t]*$")
    return _replace(text, rf"(?P<sign>{escaped})")


def _replace(text: str, pattern: str) -> str:
    compiled = re.compile(pattern, re.I | re.M)
    if not compiled.search(text):
        return text
    # Quoted text and comments may contain the sign.
    closed = [(token.start, token.end) for token in tokenize(text) if token.kind in ("quoted", "comment")]

    def replace(found: re.Match[str]) -> str:
        at = found.start("sign")
        if any(start <= at < end for start, end in closed):
            return found[0]
        return found[0].replace(found["sign"], ";".ljust(len(found["sign"])))

    return compiled.sub(replace, text)
