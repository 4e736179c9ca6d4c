"""Read a changelog of Liquibase in formatted SQL: https://docs.liquibase.com/concepts/changelogs/sql-format.html."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import define, evolve, field

from confiture.exceptions import MigrationFault
from confiture.sources.liquibase_changeset import (
    ChangeSet,
    Refusal,
    SqlLine,
    compute_checksum,
    normalize_sql,
)
from confiture.sources.liquibase_filter import matches_database

_FIRST_LINE = re.compile(r"\s*--\s*liquibase\s*formatted.*", re.I)
_CHANGESET = re.compile(
    r'\s*--\s*changeset\s+(?P<author>"[^"]+"|[^:]+):(?P<id>"[^"]+"|\S+)(?P<attributes>.*)', re.I
)
_FAULTY_CHANGESET = re.compile(r"\s*--?\s*changeset\b.*", re.I)
_PROPERTY = re.compile(r"\s*--\s*property\s+.*:.*", re.I)
_IGNORE_LINES = re.compile(r"--\s*ignoreLines:(?P<count>\w+)\s*", re.I)
_COMMENT = re.compile(r"--\s*comment:? (?P<text>.*)", re.I)
_VALID_CHECKSUM = re.compile(r"--\s*validCheckSum:? (?P<text>.*)", re.I)
_ROLLBACK = re.compile(r"(?P<lead>\s*--\s*rollback )(?P<text>.*)", re.I)
_ROLLBACK_BLOCK = re.compile(r"\s*/\*\s*liquibase\s*rollback\s*", re.I)
_PRECONDITION = re.compile(r"\s*--\s*precondition", re.I)
_NO_ROLLBACK = re.compile(r"\s*(?:not required|empty)", re.I)
_PLACEHOLDER = re.compile(r"\$\{(?P<name>[^}\s]+)\}")


def is_formatted(text: str) -> bool:
    """Return True if the first line that is not blank says that it is formatted SQL."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return _FIRST_LINE.fullmatch(first) is not None


def expand_properties(text: str, properties: Mapping[str, str]) -> str:
    """Return a text with the values of its properties; what is unknown stays, as in Liquibase."""

    def replace(found: re.Match[str]) -> str:
        name = found["name"]
        # ${:name} is how a text writes ${name} itself.
        return f"${{{name[1:]}}}" if name[0] == ":" else properties.get(name.lower(), found[0])

    return _PLACEHOLDER.sub(replace, text)


def read_raw_sql(path: Path, text: str) -> ChangeSet:
    """Return the changeset that Liquibase makes of a file that is not formatted; it expands no properties."""
    lines = tuple(SqlLine(number, line) for number, line in enumerate(text.split("\n"), 1))
    return _finish(ChangeSet("includeAll", "raw", path, None, 1), lines, None)


def read_formatted_sql(path: Path, text: str, properties: dict[str, str]) -> list[ChangeSet]:
    """Return the changesets of a file; what it defines is added to ``properties``.

    Raises:
        MigrationFault: A line is faulty.
    """
    reader = _ChangesetReader(path, properties)
    lines = enumerate(text.split("\n"), 1)
    for number, line in lines:
        if found := _IGNORE_LINES.fullmatch(line):
            reader.skip_lines(number, line, found["count"].lower(), lines)
        else:
            reader.read_line(number, line, lines)
    reader.end_changeset()
    return reader.changesets


@define
class _ChangesetReader:
    """Reads line by line.

    Attributes:
        path: The file.
        properties: What placeholders stand for, by names in lower case.
        changesets: Those that were read.
        logical_path: The ``logicalFilePath`` of the file.
        open: The changeset that is being read, if any.
        forward: Its SQL so far.
        backward: Its rollback so far.
    """

    path: Path
    properties: dict[str, str]
    changesets: list[ChangeSet] = field(factory=list)
    logical_path: str | None = None
    open: ChangeSet | None = None
    forward: list[SqlLine] = field(factory=list)
    backward: list[SqlLine] = field(factory=list)

    def read_line(self, number: int, line: str, rest: Iterable[tuple[int, str]]) -> None:
        """Read a line, and those of a block that it begins."""
        if _PROPERTY.fullmatch(line):
            self._define_property(line)
        elif _FIRST_LINE.fullmatch(line):
            self.logical_path = _read_attribute(line, "logicalFilePath") or self.logical_path
        elif found := _CHANGESET.fullmatch(line):
            self.end_changeset()
            self._begin_changeset(number, line, found)
        elif _FAULTY_CHANGESET.fullmatch(line):
            raise self._build_fault("this begins no changeset", "write --changeset AUTHOR:ID", number, line)
        elif self.open is not None:
            self._read_inside(self.open, number, line, rest)

    def skip_lines(self, number: int, line: str, count: str, rest: Iterable[tuple[int, str]]) -> None:
        """Pass over the lines that a line says to ignore."""
        if count == "start":
            for _, later in rest:
                end = _IGNORE_LINES.fullmatch(later)
                if end and end["count"].lower() == "end":
                    return
        elif count.isdecimal():
            for _, _later in zip(range(int(count)), rest, strict=False):
                continue
        else:
            raise self._build_fault(
                "this ignores no lines", "write --ignoreLines:start, end or a number", number, line
            )

    def end_changeset(self) -> None:
        """Keep the changeset that is being read."""
        if self.open is None:
            return
        forward = tuple(evolve(line, text=self._expand(line.text)) for line in self.forward)
        written = "".join(line.text for line in self.backward)
        backward: tuple[SqlLine, ...] | None = None
        if _NO_ROLLBACK.match(written):
            backward = ()
        elif written.strip():
            backward = tuple(evolve(line, text=self._expand(line.text)) for line in self.backward)
        self.changesets.append(_finish(self.open, forward, backward))
        self.open, self.forward, self.backward = None, [], []

    def _read_inside(
        self, changeset: ChangeSet, number: int, line: str, rest: Iterable[tuple[int, str]]
    ) -> None:
        if found := _COMMENT.fullmatch(line):
            self.open = evolve(changeset, comment=found["text"])
        elif found := _VALID_CHECKSUM.fullmatch(line):
            valid = (*changeset.valid_checksums, found["text"].strip())
            self.open = evolve(changeset, valid_checksums=valid)
        elif found := _ROLLBACK.fullmatch(line):
            self.backward.append(SqlLine(number, found["text"], len(found["lead"])))
        elif _ROLLBACK_BLOCK.fullmatch(line):
            self._read_rollback_block(number, line, rest)
        elif _PRECONDITION.match(line):
            hint = "ask for it in the SQL: IF EXISTS, or a DO block"
            self.open = _refuse(changeset, "confiture evaluates no preconditions", hint, number)
        else:
            self.forward.append(SqlLine(number, line))

    def _read_rollback_block(self, number: int, line: str, rest: Iterable[tuple[int, str]]) -> None:
        for place, text in rest:
            end = re.fullmatch(r"(?P<text>.*)\*/\s*", text)
            self.backward.append(SqlLine(place, end["text"] if end else text))
            if end:
                return
        raise self._build_fault("this rollback does not end", "end it with */", number, line)

    def _begin_changeset(self, number: int, line: str, found: re.Match[str]) -> None:
        attributes = found["attributes"]
        context = _read_attribute(attributes, "contextFilter") or _read_attribute(attributes, "context")
        changeset = ChangeSet(
            self._expand(found["author"].strip().strip('"')),
            self._expand(found["id"].strip('"')),
            self.path,
            self._read_logical_path(attributes),
            number,
            transactional=_read_flag(attributes, "runInTransaction") is not False,
            repeatable=_read_flag(attributes, "runOnChange") is True,
            contexts=(self._expand(context),) if context else (),
            labels=self._expand(_read_attribute(attributes, "labels")),
            dbms=self._expand(_read_attribute(attributes, "dbms")) or None,
            delimiter=_read_attribute(attributes, r"\bendDelimiter") or None,
        )
        if _read_flag(attributes, r"\bignore"):
            changeset = evolve(changeset, dbms="none")
        if _read_flag(attributes, "runAlways") and matches_database(changeset.dbms):
            raise self._build_fault(
                "Liquibase runs this changeset at every update, and confiture does not",
                "write runOnChange:true in place of runAlways:true, or make it a hook",
                number,
                line,
            )
        self.open = _refuse_attributes(changeset, attributes, number)

    def _read_logical_path(self, attributes: str) -> str | None:
        path = _read_attribute(attributes, "logicalFilePath") or self.logical_path
        return self._expand(path) if path else None

    def _define_property(self, line: str) -> None:
        name, value = (_read_attribute(line, rf"\b{key}", gap=r"\s*") for key in ("name", "value"))
        if name and matches_database(_read_attribute(line, "dbms")):
            # The first definition counts: that of the configuration before all others.
            self.properties.setdefault(name.lower(), self._expand(value))

    def _expand(self, text: str) -> str:
        return expand_properties(text, self.properties)

    def _build_fault(self, message: str, hint: str, number: int, line: str) -> MigrationFault:
        return MigrationFault(message, hint=hint, file=self.path, line=number, source_line=line)


def _finish(
    changeset: ChangeSet, forward: tuple[SqlLine, ...], backward: tuple[SqlLine, ...] | None
) -> ChangeSet:
    sql = "\n".join(line.text for line in forward)
    return evolve(
        changeset,
        forward=forward,
        backward=backward,
        checksum=compute_checksum(sql),
        content=normalize_sql(sql),
    )


def _refuse_attributes(changeset: ChangeSet, attributes: str, number: int) -> ChangeSet:
    if _read_flag(attributes, "failOnError") is False:
        return _refuse(
            changeset, "failOnError:false ignores errors, and confiture stops", "remove it", number
        )
    if runner := _read_attribute(attributes, "runWith"):
        return _refuse(changeset, f"confiture does not run changesets with {runner}", "remove it", number)
    return changeset


def _refuse(changeset: ChangeSet, message: str, hint: str, number: int) -> ChangeSet:
    return evolve(changeset, refusal=changeset.refusal or Refusal(message, hint, number))


def _read_attribute(line: str, name: str, gap: str = "") -> str:
    # The last one counts.
    found = re.findall(rf'{name}:{gap}("[^"]*"|\S*)', line, re.I)
    return found[-1].strip('"') if found else ""


def _read_flag(line: str, name: str) -> bool | None:
    value = _read_attribute(line, name)
    return value.lower() == "true" if value else None
