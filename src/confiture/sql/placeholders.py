"""Replace the placeholders of templated SQL: ``${name}``, ``{{ .name }}`` and ``/* TEMPLATE: name */``.

The first is that of Flyway and envsubst; the second is Go's text/template, which tern and many services use;
the third is River's: https://pkg.go.dev/github.com/riverqueue/river/rivershared/sqlctemplate.

Quoted text and comments may contain the same signs and mean them. So a placeholder always counts where
PostgreSQL could not read it, and elsewhere only if the project uses variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from attrs import field, frozen

from confiture.sql.go_template import build_action_fault, drop_branches, is_block
from confiture.sql.lexer import Token, read_token
from confiture.sql.position import SourceFile
from confiture.sql.psql import strip_psql
from confiture.sql.variables import build_missing_fault, get_value

Style = Literal["dollar", "action", "comment", "block"]
Place = Literal["sql", "quoted", "body"]

_NAME = r"[A-Za-z_][\w.:-]*?"
_PATTERNS: tuple[tuple[Style, re.Pattern[str]], ...] = (
    ("dollar", re.compile(rf"\$\{{\s*(?P<name>{_NAME})\s*\}}", re.ASCII)),
    # A hyphen trims the blanks beside an action. Line breaks stay, so that lines are those of the file.
    (
        "action",
        re.compile(
            r"(?:(?<![ \t])[ \t]*\{\{-|\{\{)\s*\$?(?P<dot>\.?)"
            rf"(?P<name>{_NAME})\s*(?:-\}}\}}[ \t]*|\}}\}})",
            re.ASCII,
        ),
    ),
    ("comment", re.compile(rf"/\*\s*TEMPLATE:\s*(?P<name>{_NAME})\s*\*/", re.ASCII)),
)
_NAME_FOLLOWS = re.compile(r'[\w"]')


@frozen
class Placeholder:
    """A placeholder in a text.

    Attributes:
        style: How it is written; ``"block"`` for an action of Go's templates that is no name.
        place: What it is in: SQL, a string or a quoted name, or a dollar-quoted text.
        name: The name of its variable.
        dotted: True if a dot is before the name.
        start: Where it begins, in characters from 0.
        end: Where it ends.
    """

    style: Style
    place: Place
    name: str
    start: int
    end: int
    dotted: bool = field(default=True)


def replace_placeholders(source: SourceFile, variables: Mapping[str, str]) -> SourceFile:
    """Return the file with the values of its placeholders, line by line where they were.

    In SQL each placeholder needs a value. ``${name}`` in a string or a quoted name, and a comment
    ``/* TEMPLATE: name */``, need one as soon as there are variables at all. The others do in a file that
    uses a variable. All the rest stays as it is: a function body with ``${…}`` in JavaScript, for example.

    Raises:
        MigrationFault: A variable has no value; or a template needs Go to be evaluated.
    """
    if not any(sign in source.text for sign in ("${", "{{", "TEMPLATE:")):
        return source
    found = list(_find_placeholders(source))
    if any(is_block(source.text, placeholder.start) for placeholder in found if placeholder.style == "block"):
        source = drop_branches(source, variables)
        found = list(_find_placeholders(source))
    for placeholder in found:
        if placeholder.style == "block":
            raise build_action_fault(source, placeholder.start)
    return _replace(source, variables, _select(found, variables))


def replace_everywhere(
    source: SourceFile,
    variables: Mapping[str, str],
    *,
    prefix: str = "${",
    suffix: str = "}",
    start: int = 0,
    end: int | None = None,
) -> SourceFile:
    """Return the file with the values of all its placeholders, those in quotes and comments included.

    Some tools replace text and know no SQL: Flyway does, and goose between its ``ENVSUB`` comments, for which
    ``start`` and ``end`` limit where it is done.

    Raises:
        MigrationFault: A variable has no value.
    """
    pattern = re.compile(rf"{re.escape(prefix)}\s*(?P<name>{_NAME})\s*{re.escape(suffix)}")
    found = pattern.finditer(source.text, start, len(source.text) if end is None else end)
    return _replace(
        source,
        variables,
        [Placeholder("dollar", "sql", match["name"], match.start(), match.end()) for match in found],
    )


def _select(found: Iterable[Placeholder], variables: Mapping[str, str]) -> list[Placeholder]:
    """Return those that need a value."""
    found = tuple(found)
    templated = any(
        placeholder.name in variables or (placeholder.place == "sql" and placeholder.style != "comment")
        for placeholder in found
    )

    def is_needed(placeholder: Placeholder) -> bool:
        if placeholder.name in variables:
            return True
        if placeholder.style == "comment":
            return bool(variables)
        if placeholder.place == "sql":
            return True
        if placeholder.place == "quoted" and placeholder.style == "dollar":
            return templated or bool(variables)
        # '{{a}}' is also how PostgreSQL writes an array.
        return templated and placeholder.dotted

    return [placeholder for placeholder in found if is_needed(placeholder)]


def _replace(source: SourceFile, variables: Mapping[str, str], found: Iterable[Placeholder]) -> SourceFile:
    text, pieces, done = source.text, list[str](), 0
    missing = [placeholder for placeholder in found if placeholder.name not in variables]
    if missing:
        first = missing[0]
        written = text[first.start : first.end].strip()
        names = list(dict.fromkeys(placeholder.name for placeholder in missing))
        raise build_missing_fault(source, written, first.start, names)
    for placeholder in found:
        written = text[placeholder.start : placeholder.end]
        value = get_value(source, variables, placeholder.name, written, placeholder.start)
        if placeholder.style == "comment" and placeholder.name == "schema":
            value = _qualify(value, text, placeholder.end)
        pieces += [text[done : placeholder.start], value, "\n" * written.count("\n")]
        done = placeholder.end
    return SourceFile(source.file, "".join([*pieces, text[done:]]))


def _qualify(schema: str, text: str, at: int) -> str:
    # River adds the dot to a schema's name, and writes nothing for the default schema.
    needs_dot = schema and not schema.endswith(".") and _NAME_FOLLOWS.match(text, at)
    return f"{schema}." if needs_dot else schema


def _find_placeholders(source: SourceFile) -> Iterator[Placeholder]:
    # Data of a COPY is no SQL: it is blank in this text, and stays as it is.
    text = strip_psql(source).text
    at = 0
    while at < len(text):
        if found := _match(text, at, "sql"):
            yield found
            at = found.end
            continue
        if text.startswith("{{", at):
            yield Placeholder("block", "sql", "", at, at + 2)
            at = _find_action_end(text, at)
            continue
        token = read_token(text, at)
        yield from _find_inside(text, token)
        # A name may contain a dollar sign, so the lexer takes that of `idx_${name}` for a part of the name.
        at = token.end - (token.kind == "word" and text.startswith("${", token.end - 1))


def _find_action_end(text: str, at: int) -> int:
    end = text.find("}}", at)
    return len(text) if end < 0 else end + 2


def _match(text: str, at: int, place: Place) -> Placeholder | None:
    for style, pattern in _PATTERNS:
        found = pattern.match(text, at)
        if found and not (style == "action" and is_block(text, text.index("{{", at))):
            return _build_placeholder(style, place, found)
    return None


def _find_inside(text: str, token: Token) -> Iterator[Placeholder]:
    """Yield the placeholders in quoted text, by their places."""
    if token.kind != "quoted":
        return
    place: Place = "body" if text.startswith("$", token.start) else "quoted"
    found = [
        _build_placeholder(style, place, match)
        for style, pattern in _PATTERNS
        if style != "comment" or place == "body"
        for match in pattern.finditer(text, token.start, token.end)
        if not (style == "action" and is_block(text, text.index("{{", match.start())))
    ]
    yield from sorted(found, key=lambda placeholder: placeholder.start)


def _build_placeholder(style: Style, place: Place, found: re.Match[str]) -> Placeholder:
    dotted = style != "action" or bool(found["dot"])
    return Placeholder(style, place, found["name"], found.start(), found.end(), dotted)
