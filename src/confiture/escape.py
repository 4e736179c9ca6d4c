"""Escape terminal sequences and CI workflow commands: a hostile file may put them into names and messages."""

from __future__ import annotations

import re

# Control characters, terminal escapes, bidirectional overrides, surrogates that cannot be encoded, and
# `##[`, which GitHub Actions runs as a command anywhere in a line.
_HOSTILE = re.compile(
    "##(?=\\[)|[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_HOSTILE_IN_TEXT = re.compile(_HOSTILE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
# GitHub Actions runs a line that begins with two colons as a command, also after whitespace.
_COMMAND = re.compile(r"^(\s*)::")


def escape_control(text: object) -> str:
    """Return ``text`` on one line, with everything escaped that a terminal or a CI log would act on."""
    return _HOSTILE.sub(_escape, str(text))


def escape_lines(text: object) -> list[str]:
    """Return the lines of ``text``, with everything escaped that a terminal or a CI log would act on."""
    return [escape_command(line) for line in escape_code_lines(text)]


def escape_code_lines(text: object) -> list[str]:
    """Return the lines of SQL to paste: as ``escape_lines``, but a line may begin with a cast, ``::text``."""
    return _HOSTILE_IN_TEXT.sub(_escape, str(text).replace("\r\n", "\n")).expandtabs(4).split("\n")


def escape_command(line: str) -> str:
    """Return ``line`` so that GitHub Actions does not run it as a command."""
    return _COMMAND.sub(r"\1\\x3a\\x3a", line)


def _escape(match: re.Match[str]) -> str:
    if match[0] == "##":
        return r"#\x23"
    return match[0].encode("unicode_escape").decode("ascii")
