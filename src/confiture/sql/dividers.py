"""Refuse a comment line that divides up from down for another tool, or for people, and not for us.

All below such a line would run as up: the table that a migration makes is dropped again, and nothing fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from confiture.exceptions import MigrationFault
from confiture.sql.lexer import Token, find_statement_start, tokenize
from confiture.sql.position import SourceFile

Part = Literal["up", "down"]
# A tool's divider is refused wherever it is, our own where it divides nothing, and a heading only where the
# statements below it belong to the other part: people write headings into files of one part too.
Sort = Literal["tool", "misspelt", "ours", "framed", "bare"]

# Most files have no such line, and need not be divided into tokens.
_MAYBE = re.compile(
    r"^[ \t\r\f\v#]*(?:--|/\*)[^\n]*?"
    r"(?:liquibase|drop[ \t]+below|undo|roll ?back|revert|migrat|\b(?:up|down)s?\b|:[ \t]*[udop]\w+)"
    r"|--[ \t]*migrate:(?:up|down)",
    re.IGNORECASE | re.MULTILINE,
)
_OURS = re.compile(r"--[ \t]*migrate:(?P<part>up|down)(?:[ \t]+transaction:(?:true|false))?[ \t\r]*")
_TOOLS = (
    # goose, sql-migrate and micrate; the words after it are options.
    (
        re.compile(
            r"\+ ?(?P<tool>[a-z][\w-]*)[ :]+(?P<part>up|down)(?: (?:no_?|stop)?transaction(?::\w+)?)?"
        ),
        "",
    ),
    (re.compile(r"(?P<tool>goose|rambler|micrate|dbmate|sql-migrate|shmig)[ :]+(?P<part>up|down)"), ""),
    (re.compile(r"(?:// ?)?@ ?(?P<part>undo|up|down)"), "mybatis-migrations"),
    (re.compile(r"! ?(?P<part>up|down)s?"), "Play"),
    (re.compile(r"create above ?/ ?drop below"), "tern"),
    (re.compile(r"liquibase formatted sql\b.*"), "Liquibase"),
)
# Tools that write another word than their name.
_SPELLED = {"migrate": "sql-migrate"}
# Whose files ``adopt`` can read as they are, by the name that it knows the convention by.
_CONVENTIONS = {"goose": "goose", "Liquibase": "liquibase", "node-pg-migrate": "node-pg-migrate"}
_MIGRATE = re.compile(
    r"[@+!]? ?(?:migrate|migrations?)[:=./_ -]{0,3}(?P<part>up|down)s?(?: transaction:\w+)?"
    r"|migrate ?: ?(?P<back>undo|rollback|revert)"
)
_MISSPELT = re.compile(r"[@+!]? ?(?P<word>[a-z]+) ?: ?(?P<part>[a-z]+)(?: transaction:\w+)?")
_SPELLINGS: dict[str, Part] = {
    **dict.fromkeys(("up", "ups", "upp", "uup", "pu"), "up"),
    **dict.fromkeys(
        ("down", "downs", "donw", "dwon", "dow", "dwn", "odwn", "downn", "doown", "dowm"), "down"
    ),
}
# node-pg-migrate takes whatever follows the two words.
_HEADING = re.compile(
    r"(?P<pg>up|down) migration\b.*|\+?(?P<part>up|down)s?(?: (?:script|sql|part))?"
    r"|@?(?P<back>undo|rollback|roll back|revert)(?: (?:migration|script|sql|part))?"
    # `-- name: down` is of libraries that read queries from files.
    r"|(?:name|section|step|part): ?(?P<named>up|down)"
)
_FRAME = "=*#~<>[](){}|"
_ORNAMENT = "-_:;. \t\r" + _FRAME


@frozen
class Divider:
    """A comment line that looks as if it divided up from down.

    Attributes:
        token: The comment.
        sort: How sure it is that it is a divider.
        part: The part below it; ``None`` if it does not tell.
        tool: The tool that reads it; empty for ours and for headings.
    """

    token: Token
    sort: Sort
    part: Part | None
    tool: str = ""


def refuse_dividers(source: SourceFile, text: str, whole: Part | None) -> None:
    """Refuse the first line that divides up from down, but for our own in a file that may have both parts.

    ``text`` is plain SQL; ``whole`` is the part that all of the file is, ``None`` if it may be divided.

    Raises:
        MigrationFault: There is such a line.
    """
    if not _MAYBE.search(text):
        return
    for divider in _find_dividers(text):
        if _divides(text, divider, whole):
            raise _build_fault(source, divider, whole)


def _divides(text: str, divider: Divider, whole: Part | None) -> bool:
    if divider.sort == "ours" and whole is None:
        return not _has_own_line(text, divider.token.start)
    # In a file that is all up, a line that says so divides nothing.
    if divider.part is not None and divider.part == whole:
        return False
    if divider.sort in ("tool", "misspelt", "ours"):
        return True
    if divider.part == "up" and whole is None:
        return False
    if divider.sort == "framed":
        return find_statement_start(text, divider.token.end) is not None
    above = find_statement_start(text[: divider.token.start]) is not None
    return above and _is_followed_by_statement(text, divider.token.end)


def _is_followed_by_statement(text: str, start: int) -> bool:
    """Return True if a statement is next, and not one that is commented out, which does no harm."""
    for token in tokenize(text, start):
        if token.kind == "comment" and _read_body(text, token).strip(_ORNAMENT):
            return False
        if not token.trivial and token.kind != "semicolon":
            return True
    return False


def _find_dividers(text: str) -> Iterator[Divider]:
    for token in tokenize(text):
        if token.kind == "comment" and "\n" not in text[token.start : token.end]:
            divider = _recognize(text, token)
            if divider and (divider.sort == "ours" or _has_own_line(text, token.start)):
                yield divider


def _has_own_line(text: str, at: int) -> bool:
    # Play writes `# --- !Downs`.
    return not text[text.rfind("\n", 0, at) + 1 : at].strip("# \t\r\f\v")


def _read_body(text: str, token: Token) -> str:
    written = text[token.start : token.end]
    return written.removeprefix("/*").removesuffix("*/") if written.startswith("/*") else written.lstrip("-")


def _recognize(text: str, token: Token) -> Divider | None:
    if ours := _OURS.fullmatch(text[token.start : token.end]):
        return Divider(token, "ours", _read_part(ours["part"]))
    written = _read_body(text, token)
    body = " ".join(written.lower().split()).strip("- ").rstrip(":;. ")
    for pattern, tool in _TOOLS:
        if found := pattern.fullmatch(body):
            names = found.groupdict()
            part = names.get("part")
            known = tool or _SPELLED.get(names["tool"], names["tool"])
            return Divider(token, "tool", _read_part(part) if part else None, known)
    if part := _read_misspelt(body):
        return Divider(token, "misspelt", part)
    heading = _HEADING.fullmatch(body.strip(_ORNAMENT))
    if heading is None:
        return None
    part = _read_part(heading["part"] or heading["pg"] or heading["back"] or heading["named"])
    # `==== DOWN ====` is shmig's, `Down Migration` node-pg-migrate's; `Down` alone is some people's.
    exact = heading["pg"] is not None and body.endswith("migration")
    framed = not heading["back"] and any(sign in body for sign in _FRAME)
    tool = "node-pg-migrate" if exact else ""
    return Divider(token, "framed" if exact or framed else "bare", part, tool)


def _read_misspelt(body: str) -> Part | None:
    if found := _MIGRATE.fullmatch(body):
        return _read_part(found["part"] or found["back"])
    found = _MISSPELT.fullmatch(body)
    part = _SPELLINGS.get(found["part"]) if found else None
    if found is None or part is None:
        return None
    import difflib

    return part if difflib.get_close_matches(found["word"], ("migrate", "migration"), cutoff=0.75) else None


def _read_part(word: str) -> Part:
    return "up" if word.startswith("up") else "down"


def _build_fault(source: SourceFile, divider: Divider, whole: Part | None) -> MigrationFault:
    token, name = divider.token, source.file.name
    written = source.text[token.start : token.end].strip()
    if divider.sort == "ours":
        return source.build_fault(
            f"{written} divides nothing here", token.start, hint=_suggest_place(name, divider.part, whole)
        )
    if divider.sort == "misspelt":
        return source.build_fault(
            f"{written} is not a divider: it is misspelt, so all below it would run as {whole or 'up'}",
            token.start,
            hint=f"write -- migrate:{divider.part} alone on its line; a remark needs other words",
        )
    whose = (
        f"{divider.tool} divides up from down with it" if divider.tool else "it seems to begin another part"
    )
    return source.build_fault(
        f"{written} divides nothing: {whose}, but here all below it would run as {whole or 'up'}",
        token.start,
        hint=_suggest_convention(divider.tool)
        + "write -- migrate:up and -- migrate:down, or a file for each part: "
        "VERSION_name.up.sql and VERSION_name.down.sql; a remark needs other words",
    )


def _suggest_convention(tool: str) -> str:
    if tool not in _CONVENTIONS:
        return ""
    return f"if all files here are of {tool}: confiture adopt --from {_CONVENTIONS[tool]}; else "


def _suggest_place(name: str, part: Part | None, whole: Part | None) -> str:
    if whole is None:
        return "put it alone on its line"
    stem = name.removesuffix(f".{whole}.sql")
    return f"move what is below it to {stem}.{part}.sql, or name the file {stem}.sql to keep both parts in it"
