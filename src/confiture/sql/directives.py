"""Comments that speak to confiture: ``-- confiture: no-transaction``, and dbmate's division of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from confiture.exceptions import MigrationFault
from confiture.models.migration import Direction
from confiture.sql.lexer import blanked, tokens
from confiture.sql.position import Source

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
_KNOWN = ("no-transaction", "lock_timeout", "statement_timeout", "ignore")
_SHAPES = {
    "no-transaction": "-- confiture: no-transaction",
    "lock_timeout": "-- confiture: lock_timeout=5s",
    "statement_timeout": "-- confiture: statement_timeout=10min",
    "ignore": '-- confiture: ignore RULE reason="why"',
}


@frozen
class Directives:
    """What the comments of a part say.

    Attributes:
        transactional: ``False`` with ``no-transaction``.
        lock_timeout: As written, ``None`` where not given.
        statement_timeout: The same.
        ignores: Rules ignored in the whole part.
        by_statement: Rules ignored in one statement, by its index.
    """

    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    ignores: Ignores = ()
    by_statement: tuple[tuple[int, Ignores], ...] = ()


@frozen
class Section:
    """A direction's part of a divided file.

    Attributes:
        text: As long as the file, with blanks where the other direction stands.
        transactional: ``False`` with dbmate's ``transaction:false``.
    """

    text: str
    transactional: bool = True


def read_directives(source: Source, text: str, spans: Sequence[tuple[int, int]]) -> Directives:
    """Return what the directives of a part say; ``spans`` are its statements, ``text`` is plain SQL.

    Raises:
        MigrationFault: An unknown or malformed directive, or one in the wrong place.
    """
    found = Directives()
    if not _MAYBE_DIRECTIVE.search(text):
        return found
    for at, comment in _comments(text):
        directive = _DIRECTIVE.fullmatch(comment)
        if directive:
            above = _statement_below(source, at, spans)
            found = _added(source, found, at, directive["body"], above)
    return found


def section(source: Source, text: str, direction: Direction) -> Section | None:
    """Return what stands below ``-- migrate:up`` or ``-- migrate:down``; ``None`` where neither is there.

    Comments above the first marker are kept: they speak of both directions.

    Raises:
        MigrationFault: The markers are not in order, or SQL stands above the first.
    """
    marks = _marks(text) if _MAYBE_MARKER.search(text) else []
    if not marks:
        return None
    _check_order(source, text, [(at, mark["part"]) for at, mark in marks])
    transactional = [_transactional(source, at, mark["options"]) for at, mark in marks]
    (up, _), down = marks[0], marks[1][0] if len(marks) > 1 else len(text)
    if direction == "forward":
        return Section(text[:down], transactional[0])
    return Section(text[:up] + blanked(text[up:down]) + text[down:], transactional[-1])


def _marks(text: str) -> list[tuple[int, re.Match[str]]]:
    return [
        (at, mark)
        for at, comment in _comments(text)
        if (mark := _MARKER.fullmatch(comment)) and _own_line(text, at)
    ]


def _own_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokens(text):
        if token.kind == "comment":
            yield token.start, text[token.start : token.end]


def _check_order(source: Source, text: str, marks: list[tuple[int, str]]) -> None:
    if [part for _, part in marks] not in (["up"], ["up", "down"]):
        wrong = marks[0] if marks[0][1] == "down" else marks[1 if marks[1][1] == "up" else 2]
        raise source.fault(
            f"-- migrate:{wrong[1]} is out of place",
            wrong[0],
            hint="one -- migrate:up, and below its statements at most one -- migrate:down",
        )
    for token in tokens(text, 0, marks[0][0]):
        if not token.trivial:
            raise source.fault(
                "SQL stands above -- migrate:up",
                token.start,
                hint="move it below -- migrate:up; only comments may stand above",
            )


def _transactional(source: Source, at: int, options: str | None) -> bool:
    if not options or options == "transaction:true":
        return True
    if options == "transaction:false":
        return False
    raise source.fault(
        f"{options!r} is not an option of a -- migrate: line",
        at,
        hint="transaction:false and transaction:true are",
    )


def _statement_below(source: Source, at: int, spans: Sequence[tuple[int, int]]) -> int:
    """Return the index of the statement that a directive stands above; its line must be its own."""
    for index, (start, end) in enumerate(spans):
        if at < start and _own_line(source.text, at):
            return index
        if at < end:
            break
    raise source.fault(
        "a directive is out of place",
        at,
        hint="give it a line of its own above the first statement; an ignore may stand above any statement",
    )


def _added(source: Source, found: Directives, at: int, body: str, above: int) -> Directives:
    ignore = _IGNORE.fullmatch(body)
    if ignore:
        ignores = tuple((rule.strip(), ignore["reason"]) for rule in ignore["rules"].split(","))
        if above == 0:
            return evolve(found, ignores=found.ignores + ignores)
        return evolve(found, by_statement=(*found.by_statement, (above, ignores)))
    if above > 0 and _name(body) in _KNOWN:
        raise source.fault(
            f"{_name(body)} concerns the whole migration and stands too low",
            at,
            hint="move it above the first statement",
        )
    if body == "no-transaction":
        return evolve(found, transactional=False)
    timeout = _TIMEOUT.fullmatch(body)
    if timeout is None:
        raise _unknown(source, at, body)
    if getattr(found, timeout["name"]) is not None:
        raise source.fault(f"{timeout['name']} is given twice", at, hint="keep one of them")
    if timeout["name"] == "lock_timeout":
        return evolve(found, lock_timeout=timeout["value"])
    return evolve(found, statement_timeout=timeout["value"])


def _name(body: str) -> str:
    return re.split(r"[\s=]", body, maxsplit=1)[0]


def _unknown(source: Source, at: int, body: str) -> MigrationFault:
    name = _name(body)
    if name in _KNOWN:
        return source.fault(f"cannot read the directive {body!r}", at, hint=f"write it as {_SHAPES[name]}")
    import difflib

    near = difflib.get_close_matches(name.lower().replace("_", "-"), _KNOWN, n=1, cutoff=0.5) or (
        difflib.get_close_matches(name.lower(), _KNOWN, n=1, cutoff=0.5)
    )
    hint = f"did you mean {_SHAPES[near[0]]}" if near else "the directives are " + ", ".join(_KNOWN)
    return source.fault(f"there is no directive {name!r}", at, hint=hint)
