"""Read directives from comments: ``-- confiture: no-transaction``, and dbmate's ``-- migrate:up``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from confiture.exceptions import MigrationFault
from confiture.models.migration import Direction
from confiture.sql.lexer import blank_out, find_statement_start, tokenize
from confiture.sql.position import SourceFile
from confiture.units import check_timeout

Ignores = tuple[tuple[str, str | None], ...]

_DIRECTIVE = re.compile(r"--[ \t]*confiture[ \t]*:[ \t]*(?P<body>.*?)[ \t\r]*", re.IGNORECASE | re.DOTALL)
_MARKER = re.compile(r"--[ \t]*migrate:(?P<part>up|down)(?:[ \t]+(?P<options>.*?))?[ \t\r]*", re.DOTALL)
_MAYBE_DIRECTIVE = re.compile(r"--[ \t]*confiture[ \t]*:", re.IGNORECASE)
_MAYBE_MARKER = re.compile(r"^[ \t]*--[ \t]*migrate:(?:up|down)\b", re.MULTILINE)
_IGNORE = re.compile(
    r"ignore[ \t]+(?P<rules>[A-Za-z][\w-]*(?:[ \t]*,[ \t]*[A-Za-z][\w-]*)*)"
    r"(?:[ \t]+reason[ \t]*=[ \t]*[\"“](?P<reason>[^\"”]*)[\"”])?"
)
_TIMEOUT = re.compile(
    r"(?P<name>lock_timeout|statement_timeout)[ \t]*=[ \t]*"
    r"'?(?P<value>\d+(?:\.\d+)?[ \t]*(?:us|ms|s|min|h|d)?)'?"
)
_DIRECTIVE_NAMES = ("no-transaction", "lock_timeout", "statement_timeout", "ignore")
_EXAMPLES = {
    "no-transaction": "-- confiture: no-transaction",
    "lock_timeout": "-- confiture: lock_timeout=5s",
    "statement_timeout": "-- confiture: statement_timeout=10min",
    "ignore": '-- confiture: ignore RULE reason="why"',
}


@frozen
class Directives:
    """The directives of one direction of a migration.

    Attributes:
        transactional: ``False`` with ``no-transaction``.
        lock_timeout: As written; ``None`` if not given.
        statement_timeout: As written; ``None`` if not given.
        ignores: Rules ignored in all statements, each with its reason.
        statement_ignores: Rules ignored in one statement, by its index.
    """

    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    ignores: Ignores = ()
    statement_ignores: tuple[tuple[int, Ignores], ...] = ()


@frozen
class DirectionSection:
    """One direction of a file with ``-- migrate:up`` and ``-- migrate:down``.

    Attributes:
        text: As long as the file, with blanks in place of the other direction.
        transactional: ``False`` with dbmate's ``transaction:false``.
        unwritten: True for a down part with nothing below its marker, as ``confiture new`` writes it, if
            there is something to undo. A comment there is enough to say that nothing needs undoing.
    """

    text: str
    transactional: bool = True
    unwritten: bool = False


def read_directives(source: SourceFile, text: str, spans: Sequence[tuple[int, int]]) -> Directives:
    """Return the directives in ``text``, which is plain SQL; ``spans`` are the offsets of its statements.

    Raises:
        MigrationFault: A directive is unknown, malformed or in the wrong place.
    """
    found = Directives()
    if not _MAYBE_DIRECTIVE.search(text):
        return found
    for at, comment in _find_comments(text):
        directive = _DIRECTIVE.fullmatch(comment)
        if directive:
            above = _find_statement_below(source, at, spans)
            found = _add_directive(source, found, at, directive["body"], above)
    return found


def read_section(source: SourceFile, text: str, direction: Direction) -> DirectionSection | None:
    """Return the SQL below ``-- migrate:up`` or ``-- migrate:down``; ``None`` if the file has neither.

    Comments above the first marker are kept for both directions.

    Raises:
        MigrationFault: The markers are not in order, or there is SQL above the first one.
    """
    marks = _find_markers(text) if _MAYBE_MARKER.search(text) else []
    if not marks:
        return None
    _check_order(source, text, [(at, mark["part"]) for at, mark in marks])
    transactional = [_parse_transaction_option(source, at, mark["options"]) for at, mark in marks]
    (up, _), down = marks[0], marks[1][0] if len(marks) > 1 else len(text)
    if direction == "forward":
        return DirectionSection(text[:down], transactional[0])
    below = text[down:].removeprefix(marks[-1][1].group())
    unwritten = not below.strip() and find_statement_start(text[up:down]) is not None
    return DirectionSection(text[:up] + blank_out(text[up:down]) + text[down:], transactional[-1], unwritten)


def _find_markers(text: str) -> list[tuple[int, re.Match[str]]]:
    return [
        (at, mark)
        for at, comment in _find_comments(text)
        if (mark := _MARKER.fullmatch(comment)) and _has_own_line(text, at)
    ]


def _has_own_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _find_comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize(text):
        if token.kind == "comment":
            yield token.start, text[token.start : token.end]


def _check_order(source: SourceFile, text: str, marks: list[tuple[int, str]]) -> None:
    if [part for _, part in marks] not in (["up"], ["up", "down"]):
        wrong = marks[0] if marks[0][1] == "down" else marks[1 if marks[1][1] == "up" else 2]
        raise source.build_fault(
            f"-- migrate:{wrong[1]} is out of place",
            wrong[0],
            hint="write one -- migrate:up, and below its statements at most one -- migrate:down",
        )
    for token in tokenize(text, 0, marks[0][0]):
        if not token.trivial:
            raise source.build_fault(
                "there is SQL above -- migrate:up",
                token.start,
                hint="move it below -- migrate:up; only comments may be above it",
            )


def _parse_transaction_option(source: SourceFile, at: int, options: str | None) -> bool:
    if not options or options == "transaction:true":
        return True
    if options == "transaction:false":
        return False
    raise source.build_fault(
        f"{options!r} is not an option of a -- migrate: line",
        at,
        hint="write transaction:false or transaction:true",
    )


def _find_statement_below(source: SourceFile, at: int, spans: Sequence[tuple[int, int]]) -> int:
    """Return the index of the statement below a directive, which must be alone on its line."""
    if not spans and _has_own_line(source.text, at):
        return 0
    for index, (start, end) in enumerate(spans):
        if at < start and _has_own_line(source.text, at):
            return index
        if at < end:
            break
    raise source.build_fault(
        "a directive is out of place",
        at,
        hint="put it alone on a line above the first statement; an ignore may be above any statement",
    )


def _add_directive(source: SourceFile, found: Directives, at: int, body: str, index: int) -> Directives:
    ignore = _IGNORE.fullmatch(body)
    if ignore:
        ignores = tuple((rule.strip(), ignore["reason"]) for rule in ignore["rules"].split(","))
        if index == 0:
            return evolve(found, ignores=found.ignores + ignores)
        return evolve(found, statement_ignores=(*found.statement_ignores, (index, ignores)))
    if index > 0 and _parse_name(body) in _DIRECTIVE_NAMES:
        raise source.build_fault(
            f"{_parse_name(body)} applies to the whole migration and is below its first statement",
            at,
            hint="move it above the first statement",
        )
    if body == "no-transaction":
        return evolve(found, transactional=False)
    timeout = _TIMEOUT.fullmatch(body)
    if timeout is None:
        raise _build_unknown_fault(source, at, body)
    if getattr(found, timeout["name"]) is not None:
        raise source.build_fault(f"{timeout['name']} is given twice", at, hint="keep one of the two")
    try:
        value = check_timeout(timeout["value"])
    except ValueError as error:
        hint = f"write it as {_EXAMPLES[timeout['name']]}"
        raise source.build_fault(f"{timeout['name']}: {error}", at, hint=hint) from None
    if timeout["name"] == "lock_timeout":
        return evolve(found, lock_timeout=value)
    return evolve(found, statement_timeout=value)


def _parse_name(body: str) -> str:
    return re.split(r"[\s=]", body, maxsplit=1)[0]


def _build_unknown_fault(source: SourceFile, at: int, body: str) -> MigrationFault:
    name = _parse_name(body)
    if name in _DIRECTIVE_NAMES:
        return source.build_fault(
            f"cannot read the directive {body!r}", at, hint=f"write it as {_EXAMPLES[name]}"
        )
    import difflib

    # Names are written with hyphens or with underscores: try both spellings.
    near = difflib.get_close_matches(name.lower().replace("_", "-"), _DIRECTIVE_NAMES, n=1, cutoff=0.5) or (
        difflib.get_close_matches(name.lower(), _DIRECTIVE_NAMES, n=1, cutoff=0.5)
    )
    hint = (
        f"did you mean {_EXAMPLES[near[0]]}" if near else "the directives are " + ", ".join(_DIRECTIVE_NAMES)
    )
    return source.build_fault(f"there is no directive {name!r}", at, hint=hint)
