"""Evaluate the blocks of Go's text/template in SQL: ``{{ if .postgres }} … {{ else }} … {{ end }}``.

Services that support several databases write them: https://pkg.go.dev/text/template. Conditions are names and
constants, with ``not``, ``and``, ``or``, ``eq`` and ``ne``; what needs Go to be evaluated is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field, frozen

from confiture.exceptions import MigrationFault
from confiture.sql.lexer import blank_out
from confiture.sql.position import SourceFile
from confiture.sql.variables import get_value

_ACTION = re.compile(r"""\{\{-?(?P<body>(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\}).)*)\}\}""", re.DOTALL)
_BLOCK = re.compile(r"\{\{-?\s*(?:(?:if|else|end|with|range|define|block|break|continue)\b|/\*)")
_WORD = re.compile(r"""\(|\)|"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s()"`]+""")
_NAME = re.compile(r"\$?\.(?P<name>[A-Za-z_][\w.]*)", re.ASCII)
_CONSTANT = re.compile(r'"[^"]*"|`[^`]*`|true|false|\d+')
_FALSE = ("", "0", "false", "no", "off")
_FUNCTIONS: dict[str, Callable[[Sequence[str]], bool]] = {
    "not": lambda values: not is_true(values[0]),
    "and": lambda values: all(map(is_true, values)),
    "or": lambda values: any(map(is_true, values)),
    "eq": lambda values: values[0] in values[1:],
    "ne": lambda values: values[0] not in values[1:],
}


def is_block(text: str, at: int) -> bool:
    """Return True if an action that begins, continues or ends a block is at ``at``, or a comment."""
    return _BLOCK.match(text, at) is not None


def is_true(value: str) -> bool:
    """Return what a condition makes of a value. The configuration has only text, so ``"false"`` is false."""
    return value.strip().lower() not in _FALSE


@define
class _Block:
    """An ``if`` that is open.

    Attributes:
        offset: Where it begins.
        branch: Where the branch begins that is being read.
        live: True if what is around it is kept.
        taken: True if the branch that is being read is kept.
        settled: True if a branch was kept.
    """

    offset: int
    branch: int
    live: bool
    taken: bool = False
    settled: bool = False

    def choose(self, branch: int, condition: bool) -> None:
        """Begin a branch."""
        self.branch = branch
        self.taken = self.live and condition and not self.settled
        self.settled = self.settled or self.taken


def drop_branches(source: SourceFile, variables: Mapping[str, str]) -> SourceFile:
    """Return the file with blanks in place of its blocks' actions, comments, and branches not taken.

    Offsets and lines stay the same.

    Raises:
        MigrationFault: A variable has no value, a block is not closed, or it needs Go to be evaluated.
    """
    return _BlockReader(source, variables).read()


@define
class _BlockReader:
    """Reads the actions of a text once, and collects the spans to blank out."""

    source: SourceFile
    variables: Mapping[str, str]
    blocks: list[_Block] = field(factory=list)
    gaps: list[tuple[int, int]] = field(factory=list)

    def read(self) -> SourceFile:
        for found in _ACTION.finditer(self.source.text):
            if is_block(self.source.text, found.start()):
                self.gaps.append(found.span())
                self._take(found)
        if self.blocks:
            raise self._fail("{{ if }} has no {{ end }}", self.blocks[-1].offset)
        return SourceFile(self.source.file, _blank_spans(self.source.text, self.gaps))

    def _take(self, found: re.Match[str]) -> None:
        words = found["body"].rstrip("-").split()
        if words[0].startswith("/*"):
            return
        if words[0] == "if":
            live = all(block.taken for block in self.blocks)
            block = _Block(found.start(), found.end(), live)
            block.choose(found.end(), live and self._is_true(found, words[1:]))
            self.blocks.append(block)
        elif words[0] in ("else", "end") and self.blocks:
            self._end_branch(found, words)
        elif words[0] in ("else", "end"):
            raise self._fail(f"{found.group()} ends no {{{{ if }}}}", found.start())
        elif all(block.taken for block in self.blocks):
            raise build_action_fault(self.source, found.start())
        elif words[0] not in ("break", "continue"):
            self.blocks.append(_Block(found.start(), found.end(), live=False))

    def _end_branch(self, found: re.Match[str], words: Sequence[str]) -> None:
        block = self.blocks[-1]
        if not block.taken:
            self.gaps.append((block.branch, found.start()))
        if words[0] == "end":
            self.blocks.pop()
        elif words[1:2] == ["if"]:
            needed = block.live and not block.settled
            block.choose(found.end(), needed and self._is_true(found, words[2:]))
        else:
            block.choose(found.end(), condition=True)

    def _is_true(self, found: re.Match[str], words: Sequence[str]) -> bool:
        condition = _Condition(self.source, self.variables, found.start(), _WORD.findall(" ".join(words)))
        return is_true(condition.read())

    def _fail(self, message: str, offset: int) -> MigrationFault:
        return self.source.build_fault(message, offset, hint="close each {{ if }} with one {{ end }}")


@frozen
class _Condition:
    """The words of a condition that are not read yet."""

    source: SourceFile
    variables: Mapping[str, str]
    offset: int
    words: list[str]

    def read(self) -> str:
        """Return the value of the words up to a closing parenthesis, or to the end."""
        function = self.words.pop(0) if self.words and self.words[0] in _FUNCTIONS else None
        values: list[str] = []
        while self.words and (word := self.words.pop(0)) != ")":
            values.append(self.read() if word == "(" else self._look_up(word))
        if function and values:
            return str(_FUNCTIONS[function](values)).lower()
        if len(values) != 1:
            raise build_action_fault(self.source, self.offset)
        return values[0]

    def _look_up(self, word: str) -> str:
        if name := _NAME.fullmatch(word):
            return get_value(self.source, self.variables, name["name"], word, self.offset)
        if _CONSTANT.fullmatch(word):
            return word.strip('"`')
        raise build_action_fault(self.source, self.offset)


def build_action_fault(source: SourceFile, offset: int) -> MigrationFault:
    """Return the fault for an action that only Go can evaluate."""
    found = _ACTION.match(source.text, offset)
    written = " ".join(found.group().split()) if found else "{{ without }}"
    return source.build_fault(
        f"{written} cannot be evaluated: only names and {{{{ if }}}} can",
        offset,
        hint="write the SQL that it stands for, or let the tool that reads these files render them",
    )


def _blank_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    pieces, done = [], 0
    for start, end in sorted(spans):
        # A branch not taken contains the spans of the blocks inside it.
        if end > done:
            pieces += [text[done : max(start, done)], blank_out(text[max(start, done) : end])]
            done = end
    return "".join([*pieces, text[done:]])
