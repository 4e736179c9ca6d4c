"""Remove what psql understands and PostgreSQL's parser does not: backslash commands and COPY data."""

from __future__ import annotations

import re
from itertools import pairwise

from attrs import field, frozen

from confiture.exceptions import MigrationFault
from confiture.sql.lexer import Token, blank_out, read_token
from confiture.sql.position import SourceFile

# pg_dump writes \restrict and \unrestrict since its releases of August 2025; \echo and ON_ERROR_STOP change
# nothing in the database. Any other command would make the file mean something else than it does in psql.
_HARMLESS = re.compile(r"\\(?:echo(?![^\s\\])|(?:un)?restrict[ \t]+\S|set[ \t]+ON_ERROR_STOP\b)[^\n]*")
_COMMAND = re.compile(r"\\(?:[A-Za-z_]+\+?|[^\sA-Za-z_]|)")
_QUOTED = re.compile(r"'(?:[^'\\\n]|\\.|'')*'|\"[^\"\n]*\"")
_VARIABLE = re.compile(r""":(?:[A-Za-z0-9_]+|'[A-Za-z0-9_]+'|"[A-Za-z0-9_]+"|\{\?[A-Za-z0-9_]+\})""")
_END_OF_DATA = re.compile(r"^\\\.$", re.MULTILINE)
_HINTS = {
    r"\connect": "remove the line: a migration runs in the database of --url",
    r"\i": "copy the text of that file to this place, or make it a separate migration",
    r"\copy": "write COPY … FROM STDIN; with the data below it and \\. alone on the last line",
    r"\.": "remove it, or write the COPY … FROM STDIN; whose data it ends above the data",
    r"\set": "write the value in place of the variable",
    r"\gexec": "write out the statements, or use EXECUTE in a DO block",
    r"\if": "use a DO block, or a Python migration",
}
_ALIASES = {
    r"\c": r"\connect",
    r"\ir": r"\i",
    r"\include": r"\i",
    r"\include_relative": r"\i",
    r"\elif": r"\if",
    r"\else": r"\if",
    r"\endif": r"\if",
}


@frozen
class PlainSql:
    """SQL that the parser can read, with blanks in place of psql's commands and COPY data.

    Attributes:
        text: The SQL, as long as the file, so that offsets and lines stay the same.
        copy_data: The data of each COPY, by the offset at which the COPY begins.
    """

    text: str
    copy_data: dict[int, str] = field(factory=dict)


def strip_psql(source: SourceFile) -> PlainSql:
    """Blank out COPY data and harmless psql commands.

    Raises:
        MigrationFault: The text contains another backslash command, or COPY data without its end.
    """
    # Most files have neither a backslash nor STDIN: skip the lexer. COPY FROM STDOUT means STDIN too.
    needed = "\\" in source.text or "std" in source.text.lower()
    return _PsqlReader(source).read() if needed else PlainSql(source.text)


class _PsqlReader:
    """Reads a text once and collects the spans to blank out."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.text = source.text
        self.words: list[str] = []
        self.copy_start = 0
        self.depth = 0
        self.gaps: list[tuple[int, int]] = []
        self.data_span: tuple[int, int] | None = None
        self.copy_data: dict[int, str] = {}

    def read(self) -> PlainSql:
        at = 0
        while at < len(self.text):
            if self.data_span and at >= self.data_span[0]:
                at, self.data_span = self.data_span[1], None
                continue
            token = read_token(self.text, at)
            at = self._take(token)
        return PlainSql(self._blank_gaps(), self.copy_data)

    def _take(self, token: Token) -> int:
        if token.kind == "backslash":
            end = _skip_command(self.source, token.start)
            self.gaps.append((token.start, end))
            return end
        if token.kind == "semicolon":
            self._end_statement(token)
        elif not token.trivial:
            self._note(token)
        return token.end

    def _note(self, token: Token) -> None:
        written = self.text[token.start : token.end]
        if not self.words:
            self.copy_start = token.start
        elif self.words[0] != "COPY":
            return
        self.depth += (written == "(") - (written == ")")
        self.words.append(written.upper() if token.kind == "word" and self.depth == 0 else "")

    def _end_statement(self, token: Token) -> None:
        if _reads_stdin(self.words):
            # Several COPYs may share a line: the data of the second follows the data of the first.
            begin = self.data_span[1] if self.data_span else self._find_next_line(token.end)
            found = _END_OF_DATA.search(self.text, begin)
            if found is None:
                raise self.source.build_fault(
                    "COPY … FROM STDIN without the end of its data",
                    self.copy_start,
                    hint="begin the data on the next line and end it with \\. alone on a line",
                )
            self.copy_data[self.copy_start] = self.text[begin : found.start()]
            self.gaps.append((begin, found.end()))
            self.data_span = (
                self.data_span[0] if self.data_span else begin,
                self._find_next_line(found.end()),
            )
        self.words = []
        self.depth = 0

    def _find_next_line(self, at: int) -> int:
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1

    def _blank_gaps(self) -> str:
        pieces, done = [], 0
        for start, end in self.gaps:
            pieces += [self.text[done:start], blank_out(self.text[start:end])]
            done = end
        return "".join([*pieces, self.text[done:]])


def _reads_stdin(words: list[str]) -> bool:
    pairs = pairwise(words)
    return words[:1] == ["COPY"] and any(pair in (("FROM", "STDIN"), ("FROM", "STDOUT")) for pair in pairs)


def _skip_command(source: SourceFile, start: int) -> int:
    found = _HARMLESS.match(source.text, start)
    if found is None:
        raise build_command_fault(source, start)
    # In psql a backslash ends the argument and begins another command on the same line.
    arguments = _QUOTED.sub(lambda quoted: "x" * len(quoted.group()), found.group())
    another = arguments.find("\\", 1)
    if another > 0:
        raise build_command_fault(source, start + another)
    return found.end()


def build_command_fault(source: SourceFile, start: int) -> MigrationFault:
    """Return the fault for a backslash command."""
    found = _COMMAND.match(source.text, start)
    command = found.group() if found else "\\"
    return source.build_fault(
        f"{command} is a psql command, not SQL",
        start,
        hint=_HINTS.get(_ALIASES.get(command, command), "remove it, or write it as SQL"),
    )


def find_variable_fault(source: SourceFile, start: int) -> MigrationFault | None:
    """Return the fault for a psql variable at ``start``; ``None`` if there is no variable."""
    found = _VARIABLE.match(source.text, start)
    if found is None:
        return None
    return source.build_fault(
        f"{found.group()} is a psql variable, not SQL",
        start,
        hint="write the value itself, or use a Python migration if it differs between databases",
    )
