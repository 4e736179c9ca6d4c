"""Read goose's annotations: which lines of a file are *up*, and which *down*."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, field, frozen

from confiture.models.migration import Direction
from confiture.sql.position import SourceFile

UP_ANNOTATION = re.compile(r"^--[ \t]*\+goose[ \t]+up[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
# goose refuses every other comment that contains its sign, in whatever place of a line.
_MAYBE = re.compile(r"^[ \t]*--[^\n]*\+goose[^\n]*", re.MULTILINE)
_ANNOTATION = re.compile(r"--[ \t-]*\+goose[ \t]+(?P<words>\S[^\n]*?)[ \t\r]*")
_KNOWN = ("up", "down", "statementbegin", "statementend", "no transaction", "envsub on", "envsub off")
_HINT = (
    "the annotations are -- +goose Up, Down, StatementBegin, StatementEnd, NO TRANSACTION, ENVSUB ON and OFF"
)


@frozen
class GoosePart:
    """Lines between two annotations.

    Attributes:
        direction: Where they belong.
        start: Where they begin, in characters from 0.
        end: Where they end.
        envsub: True if variables are substituted in them.
        whole: True if they are one statement, which needs no semicolon: ``StatementEnd`` follows.
    """

    direction: Direction
    start: int
    end: int
    envsub: bool = False
    whole: bool = False


@frozen
class GooseFile:
    """A file, divided.

    Attributes:
        parts: Its parts, in order.
        transactional: False with ``NO TRANSACTION``, which counts for both directions.
        has_down: True if there is a ``Down``, even an empty one.
    """

    parts: tuple[GoosePart, ...]
    transactional: bool
    has_down: bool


@define
class _AnnotationReader:
    """What has been read so far.

    Attributes:
        source: The file.
        direction: That of the lines that follow; ``None`` above the first annotation.
        envsub: True after ``ENVSUB ON``.
        opened: Where a ``StatementBegin`` is that has no end yet.
        transactional: False after ``NO TRANSACTION``.
    """

    source: SourceFile
    direction: Direction | None = None
    envsub: bool = False
    opened: int | None = None
    transactional: bool = field(default=True)

    def apply(self, annotation: str, at: int) -> None:
        """Go on below an annotation.

        Raises:
            MigrationFault: It is out of place.
        """
        if annotation in ("up", "down", "statementbegin") and self.opened is not None:
            raise self._build_fault("-- +goose StatementBegin has no StatementEnd", self.opened)
        if annotation == "up":
            if self.direction is not None:
                raise self._build_fault("-- +goose Up is given twice", at)
            self.direction = "forward"
        elif annotation == "down":
            if self.direction != "forward":
                raise self._build_fault("-- +goose Down is out of place: one may be below -- +goose Up", at)
            self.direction = "backward"
        elif annotation == "statementbegin":
            if self.direction is None:
                raise self._build_fault("-- +goose StatementBegin is above -- +goose Up", at)
            self.opened = at
        elif annotation == "statementend":
            if self.opened is None:
                raise self._build_fault("-- +goose StatementEnd has no StatementBegin", at)
            self.opened = None
        elif annotation == "no transaction":
            self.transactional = False
        else:
            self.envsub = annotation == "envsub on"

    def close(self) -> None:
        """Check the end of the file.

        Raises:
            MigrationFault: Something is missing.
        """
        if self.opened is not None:
            raise self._build_fault("-- +goose StatementBegin has no StatementEnd", self.opened)

    def _build_fault(self, message: str, at: int) -> Exception:
        return self.source.build_fault(message, at, hint=_HINT)


def read_annotations(source: SourceFile) -> GooseFile:
    """Return the parts of a file.

    Raises:
        MigrationFault: An annotation is unknown, missing or out of place.
    """
    reader, parts, done = _AnnotationReader(source), list[GoosePart](), 0
    if not UP_ANNOTATION.search(source.text):
        raise source.build_fault(
            "there is no -- +goose Up in this file", hint="write it alone on a line, above the statements"
        )
    found = [*_find_annotations(source), ("end", len(source.text), len(source.text))]
    for annotation, start, end in found:
        if reader.direction is not None:
            whole = annotation == "statementend"
            parts.append(GoosePart(reader.direction, done, start, reader.envsub, whole))
        elif stray := re.search(r"^(?![ \t]*--)[ \t]*\S", source.text[done:start], re.MULTILINE):
            raise source.build_fault(
                "there is text above -- +goose Up", done + stray.end() - 1, hint="move it below -- +goose Up"
            )
        if annotation != "end":
            reader.apply(annotation, start)
        done = end
    reader.close()
    return GooseFile(tuple(parts), reader.transactional, reader.direction == "backward")


def _find_annotations(source: SourceFile) -> Iterator[tuple[str, int, int]]:
    for line in _MAYBE.finditer(source.text):
        found = _ANNOTATION.fullmatch(line[0])
        words = " ".join(found["words"].lower().split()) if found else ""
        if words not in _KNOWN:
            indented = line[0][0] in " \t"
            raise source.build_fault(
                f"{line[0].strip()} is no annotation of goose's" + (": it is indented" if indented else ""),
                line.start(),
                hint=_HINT,
            )
        yield words, line.start(), line.end()
