"""Read ``sqitch.plan``: changes in order, their dependencies, and the tags that mark releases.

The syntax is that of https://sqitch.org/docs/manual/sqitchplan/; an id is the SHA-1 of what the plan says of
a change and of its parent, as sqitch computes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from attrs import evolve, field, frozen

from confiture.migrations.folder import read_file
from confiture.sql.position import SourceFile

_EDGE = r"!\"#$%&'()*+,\-./:;<=>?@\[\\\]^`{|}~"
_NAME = rf"(?![{_EDGE}])(?:(?![~/=%^]\d+(?:$|\s))[^\s:@#\\])+(?<![{_EDGE}])\b"
_PRAGMA = re.compile(r"\s*%\s*(?P<name>[\w-]+)(?:\s*=\s*(?P<value>.+))?")
_LINE = re.compile(
    rf"[ \t]*(?:(?P<tag>@)|[ \t]*(?P<operator>[+-])[ \t]*)?(?P<name>{_NAME})[ \t]*"
    r"(?:\[(?P<dependencies>[^]]+)\][ \t]*)?"
    r"(?P<planned_at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)[ \t]*"
    r"(?P<planner_name>[^<]+)[ \t]+<(?P<planner_email>[^>]+)>"
)
_NOTE = re.compile(r"[ \t]*(?:#[ \t]*(?P<note>.*))?$")
_DEPENDENCY = re.compile(
    rf"(?P<conflict>!?)(?:(?P<project>{_NAME}):)?"
    rf"(?:(?P<id>[0-9a-f]{{40}})|(?P<change>{_NAME})?(?:@(?P<tag>{_NAME}))?)"
)
_ESCAPES = {r"\n": "\n", r"\r": "\r", r"\\": "\\"}


@frozen
class PlanEntry:
    """What a line of the plan says, be it of a change or of a tag.

    Attributes:
        id: The SHA-1.
        name: The name, without ``@``.
        note: The note.
        planned_at: As written, in UTC.
        planner_name: Who planned it.
        planner_email: Their address.
        line: 1-based, in the plan.
    """

    id: str
    name: str
    note: str
    planned_at: str
    planner_name: str
    planner_email: str
    line: int


@frozen
class PlanDependency:
    """A change that must be there before another one, or must not.

    Attributes:
        label: As sqitch records it, without ``!``.
        conflict: True if it must not be there.
        project: Its project, if that is another one.
        change: Its name; empty with a tag alone.
        target: The id of the change in this plan; ``None`` if it is in another project.
    """

    label: str
    conflict: bool
    project: str | None
    change: str
    target: str | None


@frozen
class PlanChange(PlanEntry):
    """A change.

    Attributes:
        dependencies: What it requires and what it conflicts with.
        tags: The tags that stand below it.
        since: The last tag above it, if it reworks a change of the same name.
        rework_tags: Where it was reworked later: the tags that the names of its scripts may end in.
    """

    dependencies: tuple[PlanDependency, ...] = ()
    tags: tuple[PlanEntry, ...] = ()
    since: str | None = None
    rework_tags: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Its name; for a rework with the tag that it comes after, so that no later rework changes it."""
        return self.name if self.since is None else f"{self.name}@{self.since}+"


@frozen
class SqitchPlan:
    """A plan.

    Attributes:
        project: The project's name.
        uri: The project's URI in canonical form; ``None`` if it has none.
        changes: The changes, in order.
    """

    project: str
    uri: str | None
    changes: tuple[PlanChange, ...] = field(default=())


def read_plan(path: Path) -> SqitchPlan:
    """Return a plan.

    Raises:
        MigrationFault: A line cannot be read, or a dependency does not stand above the change.
    """
    source = SourceFile(path, read_file(path))
    pragmas = dict(_read_pragmas(source.text))
    if not pragmas.get("project"):
        raise source.build_fault(
            f"{path.name} names no project", 0, hint="write %project=NAME in its first lines"
        )
    uri = pragmas.get("uri")
    return _PlanReader(source, SqitchPlan(pragmas["project"], _canonicalize(uri) if uri else None)).read()


def _read_pragmas(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if not line.strip():
            return
        if found := _PRAGMA.fullmatch(_NOTE.sub("", line, count=1)):
            yield found["name"], (found["value"] or "").strip()


def _canonicalize(uri: str) -> str:
    parts = urlsplit(uri)
    path = parts.path or ("/" if parts.netloc else "")
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, parts.query, parts.fragment))


class _PlanReader:
    """Reads the lines from top to bottom: an id depends on that of the change above."""

    def __init__(self, source: SourceFile, plan: SqitchPlan) -> None:
        self.source = source
        self.plan = plan
        self.changes: list[PlanChange] = []
        self.last_tag: str | None = None

    def read(self) -> SqitchPlan:
        offset = 0
        for number, line in enumerate(self.source.text.split("\n"), 1):
            note = _NOTE.search(line)
            written = line[: note.start()] if note else line
            if written.strip() and not written.lstrip().startswith("%"):
                self._take(written, _unescape(note["note"] or "" if note else ""), number, offset)
            offset += len(line) + 1
        return evolve(self.plan, changes=tuple(self.changes))

    def _take(self, written: str, note: str, line: int, offset: int) -> None:
        found = _LINE.fullmatch(written)
        if found is None:
            raise self.source.build_fault(
                "this is no line of a plan",
                offset,
                hint="write NAME [DEPENDENCIES] TIME PLANNER <EMAIL> # NOTE, as sqitch add does",
            )
        if found["operator"] == "-":
            raise self.source.build_fault(
                "a plan that reverts a change is not supported",
                offset,
                hint="remove the line; undo a change with confiture down",
            )
        entry = PlanEntry(
            "", found["name"], note, found["planned_at"], found["planner_name"], found["planner_email"], line
        )
        if found["tag"]:
            self._take_tag(entry, offset)
        else:
            self._take_change(entry, (found["dependencies"] or "").split(), offset)

    def _take_tag(self, tag: PlanEntry, offset: int) -> None:
        if not self.changes:
            raise self.source.build_fault(
                f"the tag @{tag.name} has no change above it", offset, hint="move it below a change"
            )
        if any(tag.name == other.name for change in self.changes for other in change.tags):
            raise self.source.build_fault(
                f"the tag @{tag.name} occurs twice", offset, hint="give one of the two another name"
            )
        change = self.changes[-1]
        content = self._render_content(tag, f"tag @{tag.name}", f"change {change.id}", ())
        self.changes[-1] = evolve(change, tags=(*change.tags, evolve(tag, id=_hash("tag", content))))
        self.last_tag = tag.name

    def _take_change(self, entry: PlanEntry, written: Sequence[str], offset: int) -> None:
        dependencies = tuple(self._read_dependency(entry, word, offset) for word in written)
        parent = f"parent {self.changes[-1].id}" if self.changes else ""
        content = self._render_content(entry, f"change {entry.name}", parent, dependencies)
        before = [place for place, change in enumerate(self.changes) if change.name == entry.name]
        since = self._note_rework(before[-1], entry, offset) if before else None
        self.changes.append(
            PlanChange(
                _hash("change", content),
                entry.name,
                entry.note,
                entry.planned_at,
                entry.planner_name,
                entry.planner_email,
                entry.line,
                dependencies,
                since=since,
            )
        )

    def _note_rework(self, place: int, entry: PlanEntry, offset: int) -> str:
        """Note at a change that it is reworked here, and return the last tag in between."""
        between = [tag.name for change in reversed(self.changes[place:]) for tag in change.tags]
        if not between or self.last_tag is None:
            raise self.source.build_fault(
                f"the change {entry.name} occurs twice without a tag in between",
                offset,
                hint="give one of the two another name, or a tag to the first: sqitch tag, sqitch rework",
            )
        self.changes[place] = evolve(self.changes[place], rework_tags=tuple(between))
        return self.last_tag

    def _read_dependency(self, entry: PlanEntry, word: str, offset: int) -> PlanDependency:
        found = _DEPENDENCY.fullmatch(word)
        if found is None or not (found["id"] or found["change"] or found["tag"]):
            raise self.source.build_fault(
                f"{word} is no dependency", offset, hint="write CHANGE, CHANGE@TAG, @TAG or PROJECT:CHANGE"
            )
        conflict, project = bool(found["conflict"]), found["project"]
        own = project in (None, self.plan.project)
        key = found["id"] or (found["change"] or "") + (f"@{found['tag']}" if found["tag"] else "")
        target = self._find(found["id"], found["change"], found["tag"]) if own else None
        if own and (target is None) != conflict and not (found["id"] and not conflict):
            fault = "conflicts with" if conflict else "requires"
            where = "which stands above it" if conflict else "which does not stand above it"
            raise self.source.build_fault(
                f"{entry.name} {fault} {key}, {where}",
                offset,
                hint="correct the dependency, or move the line",
            )
        label = key if own else f"{project}:{key}"
        return PlanDependency(label, conflict, None if own else project, found["change"] or "", target)

    def _find(self, id: str | None, name: str | None, tag: str | None) -> str | None:
        """Return the id of the last change above that fits."""
        end = len(self.changes)
        if tag is not None:
            tagged = [
                place
                for place, change in enumerate(self.changes)
                if any(tag == other.name for other in change.tags)
            ]
            end = tagged[0] + 1 if tagged else 0
        fitting = [
            change.id
            for change in self.changes[:end]
            if (change.id == id if id else name is None or change.name == name)
        ]
        return fitting[-1] if fitting else None

    def _render_content(
        self, entry: PlanEntry, head: str, above: str, dependencies: Sequence[PlanDependency]
    ) -> str:
        """Return what the id is the hash of."""
        required = [f"  + {dependency.label}" for dependency in dependencies if not dependency.conflict]
        conflicting = [f"  - {dependency.label}" for dependency in dependencies if dependency.conflict]
        lines = [
            f"project {self.plan.project}",
            *([f"uri {self.plan.uri}"] if self.plan.uri else []),
            head,
            *([above] if above else []),
            f"planner {entry.planner_name} <{entry.planner_email}>",
            f"date {entry.planned_at}",
            *(["requires", *required] if required else []),
            *(["conflicts", *conflicting] if conflicting else []),
            *(["", entry.note] if entry.note else []),
        ]
        return "\n".join(lines)


def _unescape(note: str) -> str:
    return re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], note.strip())


def _hash(kind: str, content: str) -> str:
    data = content.encode()
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
