"""Split SQL into quotes, comments and the rest, as PostgreSQL's lexer does.

libpg_query refuses a file with COPY data or psql's backslash commands, and drops comments. This lexer runs
before it: it finds a backslash or a COPY outside quotes and comments, and comments with directives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

TokenKind = Literal["comment", "space", "newline", "quoted", "word", "backslash", "semicolon", "other"]

# PostgreSQL knows six whitespace characters. It takes a no-break space, like every character outside ASCII,
# for part of a name. `[^\x00-\x7f]` says so because a range up to U+10FFFF takes 3 ms to compile.
# The possessive quantifiers (`++`, `*+`) keep an unclosed quote or comment from backtracking.
# A string goes on after a line break ('a'\n'b'). Only for E'' that matters here: its second part has escapes
# too, though it begins with a plain quote. A word may contain `$`, so a$$ begins no dollar quote.
_TOKEN = re.compile(
    r"""
    (?P<newline>\n)
  | (?P<space>[ \t\r\f\v]++)
  | (?P<comment>--[^\n\r]*+)
  | (?P<nested>/\*)
  | (?P<quoted>
        [eE]'(?:[^'\\]++|\\.?|'')*+(?:'(?:[ \t\r\f\v]*+\n[ \t\r\f\v\n]*'(?:[^'\\]++|\\.?|'')*+')*)?
      | '(?:[^']++|'')*+'?
      | "(?:[^"]++|"")*+"?
    )
  | (?P<dollar>\$(?:(?:[A-Za-z_]|[^\x00-\x7f])(?:[A-Za-z0-9_]++|[^\x00-\x7f]++)*+)?\$)
  | (?P<word>(?:[A-Za-z_0-9]|[^\x00-\x7f])(?:[A-Za-z0-9_$]++|[^\x00-\x7f]++)*+)
  | (?P<backslash>\\)
  | (?P<semicolon>;)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NESTED = re.compile(r"/\*|\*/")
_NO_STATEMENT = re.compile(r"(?:[ \t\r\f\v\n;]++|--[^\n\r]*+)*+(?P<nested>/\*)?")
_TRIVIA = frozenset({"comment", "space", "newline"})


@frozen
class Token:
    """A piece of SQL; ``start`` and ``end`` count characters of the text."""

    kind: TokenKind
    start: int
    end: int

    @property
    def trivial(self) -> bool:
        """True if the parser ignores this token: a comment or whitespace."""
        return self.kind in _TRIVIA


def read_token(text: str, start: int) -> Token:
    """Return the token that begins at ``start``; an unclosed quote or comment extends to the end."""
    match = _TOKEN.match(text, start)
    assert match is not None
    kind, end = match.lastgroup, match.end()
    if kind == "nested":
        # PostgreSQL nests /* */ comments, which no regular expression can match.
        return Token("comment", start, _find_comment_end(text, end))
    if kind == "dollar":
        close = text.find(match.group(), end)
        return Token("quoted", start, len(text) if close < 0 else close + end - start)
    return Token(kind, start, end)  # type: ignore[arg-type]


def tokenize(text: str, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """Yield the tokens that begin at ``start`` or after it, and before ``end``."""
    stop = len(text) if end is None else end
    while start < stop:
        token = read_token(text, start)
        yield token
        start = token.end


def find_statement_start(text: str, start: int = 0) -> int | None:
    """Return the offset of the first statement at or after ``start``; ``None`` if none follows."""
    at = start
    while match := _NO_STATEMENT.match(text, at):
        at = match.end()
        if not match["nested"]:
            break
        at = _find_comment_end(text, at)
    return at if at < len(text) else None


def strip_trailing_comments(sql: str) -> str:
    """Return a statement without the whitespace and comments after it."""
    bare = sql.rstrip(" \t\r\f\v\n")
    # Most statements end without a comment: look at the last line before lexing the whole statement.
    if "--" not in bare[bare.rfind("\n") + 1 :] and not bare.endswith("*/"):
        return bare
    end = 0
    for token in tokenize(bare):
        if not token.trivial:
            end = token.end
    return bare[:end]


def blank_out(text: str) -> str:
    """Return a text of the same length and the same lines with every other character a blank.

    Offsets and line numbers after it stay valid.
    """
    return re.sub(r"[^\n]+", lambda match: " " * len(match.group()), text)


def blank_comments(text: str) -> str:
    """Return a text of the same length with blanks in place of its comments.

    An unclosed comment is kept, and so is a ``/* */`` between two strings: PostgreSQL refuses both.
    """
    pieces, done, quoted = list[str](), 0, False
    comments: list[Token] = []
    for token in tokenize(text):
        if token.kind == "comment":
            comments.append(token)
        if token.trivial:
            continue
        for comment in comments:
            written = text[comment.start : comment.end]
            if written.startswith("--") or not (quoted and token.kind == "quoted"):
                pieces += [text[done : comment.start], blank_out(written)]
                done = comment.end
        comments, quoted = [], token.kind == "quoted"
    return "".join([*pieces, text[done:]])


def _find_comment_end(text: str, start: int) -> int:
    depth = 1
    for match in _NESTED.finditer(text, start):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)
