"""Read the changelogs of Liquibase in XML, YAML and JSON: what they include, in which order.

Their changesets are known by author and id, so that what is applied can be adopted; they cannot run here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat

from attrs import define, field, frozen

from confiture.exceptions import MigrationFault
from confiture.sources.liquibase_changeset import ChangeSet, Refusal
from confiture.sources.liquibase_filter import matches_database

SUFFIXES = (".xml", ".yaml", ".yml", ".json")
_ROOT = "databaseChangeLog"
_HINT = "write it to a file of formatted SQL, and include that"
_YAML_ITEM = re.compile(r"(?P<indent>\s*)-\s+(?P<key>\w+):\s*(?P<rest>.*)")
_YAML_PAIR = re.compile(r"\s*-?\s*(?P<key>[\w.-]+):(?:\s+(?P<value>.*))?")
_DBMS = re.compile(
    r"""<[\w:]*dbms\s+type="([^"]*)"\s*/>|-\s*dbms:\s*\{?\s*type:\s*["']?([\w,!]+)["']?\s*\}?"""
)
_FLOW_PAIR = re.compile(r"""(?P<key>\w+):\s*(?P<value>"[^"]*"|'[^']*'|[^,}]*)""")


@frozen
class Entry:
    """One entry of a changelog.

    Attributes:
        kind: ``"include"``, ``"includeAll"``, ``"property"``, ``"changeSet"`` or another name.
        attributes: Its attributes.
        line: Where it begins.
        content: Its text.
    """

    kind: str
    attributes: Mapping[str, str]
    line: int = 1
    content: str = field(default="", repr=False)


def is_changelog(text: str) -> bool:
    """Return True if a text in one of these formats is a changelog."""
    return re.search(rf"[<\"'\s:]{_ROOT}\b|^{_ROOT}\b", text) is not None


def read_entries(path: Path, text: str) -> list[Entry]:
    """Return the entries of a changelog, in order.

    Raises:
        MigrationFault: It does not parse, or has an entry that cannot be followed.
    """
    if path.suffix == ".xml":
        entries = _read_xml(path, text)
    elif path.suffix == ".json":
        entries = _read_json(path, text)
    else:
        entries = list(_read_yaml(path, text))
    kept = [entry for entry in entries if not (entry.kind == "preConditions" and _asks_for_us(entry.content))]
    for entry in kept:
        _refuse_entry(path, entry)
    return kept


def _asks_for_us(preconditions: str) -> bool:
    """Return True if preconditions ask only for PostgreSQL."""
    inner = re.sub(r"<[\w:]*preConditions[^>]*>", "", preconditions)
    types = [in_xml or in_yaml for in_xml, in_yaml in _DBMS.findall(inner)]
    return bool(types) and not _DBMS.sub("", inner).strip() and all(map(matches_database, types))


def build_refused_changeset(path: Path, entry: Entry) -> ChangeSet:
    """Return a changeset that is known by its name only."""
    form = "XML" if path.suffix == ".xml" else "JSON" if path.suffix == ".json" else "YAML"
    attributes = entry.attributes
    context = attributes.get("contextFilter") or attributes.get("context")
    return ChangeSet(
        attributes.get("author", ""),
        attributes.get("id", ""),
        path,
        attributes.get("logicalFilePath"),
        entry.line,
        content=entry.content,
        contexts=(context,) if context else (),
        labels=attributes.get("labels", ""),
        dbms=attributes.get("dbms"),
        refusal=Refusal(f"confiture runs SQL, and this changeset is {form}", _HINT, entry.line),
    )


def _refuse_entry(path: Path, entry: Entry) -> None:
    if entry.kind not in ("include", "includeAll", "property", "changeSet"):
        raise _build_fault(path, f"confiture does not follow {entry.kind}", entry.line)
    for name in ("filter", "resourceComparator"):
        if entry.kind == "includeAll" and name in entry.attributes:
            raise _build_fault(
                path, f"{name} of includeAll is Java, which confiture does not run", entry.line
            )
    if entry.kind == "property" and "file" in entry.attributes:
        raise _build_fault(path, "confiture reads no files of properties", entry.line)


def _build_fault(path: Path, message: str, line: int | None) -> MigrationFault:
    return MigrationFault(message, hint=_HINT, file=path, line=line)


@define
class _XmlReader:
    """Collects the children of the root.

    Attributes:
        parser: The parser, which knows where it is.
        data: The text, as bytes.
        depth: How many elements are open.
        begun: Kind, attributes, line and offset of the entry that is open.
        entries: Those that ended.
    """

    parser: Any
    data: bytes
    depth: int = 0
    begun: tuple[str, dict[str, str], int, int] | None = None
    entries: list[Entry] = field(factory=list)
    root: dict[str, str] = field(factory=dict)

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """Note where an element begins."""
        if self.depth == 0:
            self.root = attributes
        if self.depth == 1:
            kind = name.rpartition(":")[2]
            self.begun = (kind, attributes, self.parser.CurrentLineNumber, self.parser.CurrentByteIndex)
        self.depth += 1

    def end(self, _name: str) -> None:
        """Keep an entry that ends."""
        self.depth -= 1
        if self.depth == 1 and self.begun:
            kind, attributes, line, start = self.begun
            if kind == "changeSet" and "logicalFilePath" in self.root:
                attributes = {"logicalFilePath": self.root["logicalFilePath"], **attributes}
            content = self.data[start : self.parser.CurrentByteIndex].decode(errors="replace")
            self.entries.append(Entry(kind, attributes, line, content))


def _read_xml(path: Path, text: str) -> list[Entry]:
    data = text.encode(errors="replace")
    parser = expat.ParserCreate()
    reader = _XmlReader(parser, data)
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _build_fault(path, f"this is no XML: {error}", error.lineno) from None
    return reader.entries


def _read_json(path: Path, text: str) -> list[Entry]:
    try:
        document = json.loads(text)
        items = document[_ROOT]
        pairs = [next(iter(item.items())) for item in items if item]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _build_fault(path, f"this is no changelog in JSON: {error}", None) from None
    return [
        Entry(kind, {key: _format_scalar(value) for key, value in body.items()}, 1, json.dumps(body))
        for kind, body in pairs
        if isinstance(body, dict)
    ]


def _format_scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_yaml(path: Path, text: str) -> Iterator[Entry]:
    """Yield the items of the list below the root; each is a mapping with one key."""
    indent: int | None = None
    block: list[str] = []
    begun: tuple[str, int] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if not bare or bare.startswith(("#", "---", _ROOT)):
            continue
        found = _YAML_ITEM.fullmatch(line)
        if found and (indent is None or len(found["indent"]) == indent):
            if begun:
                yield _build_yaml_entry(*begun, block)
            indent, begun, block = len(found["indent"]), (found["key"], number), [found["rest"]]
        elif begun is None:
            raise _build_fault(path, "confiture does not understand this line of the changelog", number)
        else:
            block.append(line)
    if begun:
        yield _build_yaml_entry(*begun, block)


def _build_yaml_entry(kind: str, line: int, block: list[str]) -> Entry:
    first, *rest = block
    if not rest and not first.startswith("{"):
        return Entry(kind, {"value": _unquote(first)}, line, first)
    if first.startswith("{"):
        pairs = [(found["key"], found["value"]) for found in _FLOW_PAIR.finditer(first.strip("{}"))]
    else:
        level = min((len(text) - len(text.lstrip()) for text in rest), default=0)
        own = [text for text in rest if len(text) - len(text.lstrip()) == level]
        found_pairs = [found for text in own if (found := _YAML_PAIR.fullmatch(text))]
        pairs = [(found["key"], found["value"] or "") for found in found_pairs]
    return Entry(kind, {key: _unquote(value) for key, value in pairs}, line, "\n".join(block))


def _unquote(value: str) -> str:
    value = value.strip()
    if value[:1] in ("'", '"') and value.endswith(value[0]):
        return value[1:-1]
    return value.partition(" #")[0].strip()
