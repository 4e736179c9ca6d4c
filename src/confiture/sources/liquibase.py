"""Liquibase: changesets in formatted SQL, in the order in which a changelog includes their files.

``migrations`` names the folder, or the root changelog itself. Facts are from https://docs.liquibase.com/concepts
and from Liquibase 4.28.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from attrs import define, evolve, field

from confiture.exceptions import MigrationFault, SourceFault
from confiture.migrations.folder import combine_faults, hash_text, list_folder, read_file
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.sources.liquibase_changelog import (
    SUFFIXES,
    Entry,
    build_refused_changeset,
    is_changelog,
    read_entries,
)
from confiture.sources.liquibase_changeset import ChangeSet
from confiture.sources.liquibase_delimiter import replace_delimiter
from confiture.sources.liquibase_filter import matches_database, matches_expression
from confiture.sources.liquibase_ledger import ChangeSetRecord, build_ledger
from confiture.sources.liquibase_sql import (
    expand_properties,
    is_formatted,
    read_formatted_sql,
    read_raw_sql,
)
from confiture.sources.source import Evidence, Source, SourceOptions
from confiture.sources.sql_files import refuse_duplicates, refuse_nothing

_CONTEXTS = "liquibase.contexts"
_LABELS = "liquibase.labelFilter"
_ALL = "*"


def build_source() -> Source:
    """Return the source."""
    return Source(
        "liquibase", "Liquibase", _read_changelog, _recognize, build_ledger(), replaces_placeholders=True
    )


def _read_changelog(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    base = folder.parent if folder.is_file() else folder
    properties = {name.lower(): value for name, value in options.variables.items()}
    reader = _ChangelogReader(base, options.root, properties)
    for path in _find_roots(folder):
        reader.read_file(path, ())
    changesets = [changeset for changeset in reader.changesets if matches_database(changeset.dbms)]
    chosen = _select_changesets(changesets, options)
    migrations = [_build_migration(changeset, base, reader.texts[changeset.file]) for changeset in chosen]
    refuse_nothing(folder, migrations, "Liquibase", "NAME.sql, with --liquibase formatted sql as first line")
    return refuse_duplicates(migrations)


def _find_roots(folder: Path) -> list[Path]:
    """Return the changelog that no other includes; without one, the files of formatted SQL by name.

    Raises:
        SourceFault: Several changelogs include the others.
    """
    if folder.is_file():
        return [folder]
    list_folder(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    logs = [path for path in files if path.suffix in SUFFIXES and is_changelog(read_file(path))]
    if not logs:
        return [path for path in files if path.suffix == ".sql" and is_formatted(read_file(path))]
    roots = [path for path in logs if not _is_included(path, logs)]
    if len(roots) == 1:
        return roots
    names = " and ".join(path.relative_to(folder).as_posix() for path in roots or logs)
    raise SourceFault(
        f"{folder} has several changelogs: {names}",
        hint=f"name the one that includes the others: --migrations {(roots or logs)[0]}",
    )


def _is_included(path: Path, logs: Sequence[Path]) -> bool:
    for log in logs:
        if log == path:
            continue
        for entry in read_entries(log, read_file(log)):
            target = entry.attributes.get("file") or entry.attributes.get("path") or ""
            name = target.removeprefix("classpath:").strip("/")
            relative = (log.parent / name).resolve()
            if entry.kind == "include" and (path.resolve() == relative or str(path).endswith(f"/{name}")):
                return True
            if entry.kind == "includeAll" and relative in path.resolve().parents:
                return True
    return False


@define
class _ChangelogReader:
    """Reads changelogs and what they include.

    Attributes:
        base: The folder of the root changelog.
        top: The highest folder that a path may be relative to.
        properties: What placeholders stand for, by names in lower case.
        changesets: Those that were read, in order.
        texts: The texts of their files.
        open: The changelogs that are being read, to find one that includes itself.
    """

    base: Path
    top: Path
    properties: dict[str, str]
    changesets: list[ChangeSet] = field(factory=list)
    texts: dict[Path, str] = field(factory=dict)
    open: list[Path] = field(factory=list)

    def read_file(self, path: Path, contexts: tuple[str, ...], labels: str = "") -> None:
        """Read a changelog, or a file of SQL, that is included with these contexts."""
        text = self.texts[path] = read_file(path)
        if path.suffix == ".sql":
            if is_formatted(text):
                found = read_formatted_sql(path, text, self.properties)
            else:
                found = [read_raw_sql(path, text)] if text.strip() else []
            self._add(found, contexts, labels)
        else:
            self._read_entries(path, text, contexts, labels)

    def _read_entries(self, path: Path, text: str, contexts: tuple[str, ...], labels: str) -> None:
        if path in self.open:
            raise MigrationFault(f"{path.name} includes itself", hint="remove that include", file=path)
        self.open.append(path)
        for entry in read_entries(path, text):
            attributes = entry.attributes
            if entry.kind == "property" and matches_database(attributes.get("dbms")):
                value = expand_properties(attributes.get("value", ""), self.properties)
                self.properties.setdefault(attributes.get("name", "").lower(), value)
            elif entry.kind == "changeSet":
                self._add([build_refused_changeset(path, entry)], contexts, labels)
            elif entry.kind in ("include", "includeAll"):
                context = attributes.get("contextFilter") or attributes.get("context")
                inner = (*contexts, context) if context else contexts
                for included in self._resolve(path, entry):
                    self.read_file(included, inner, attributes.get("labels", "") or labels)
        self.open.pop()

    def _add(self, changesets: Iterable[ChangeSet], contexts: tuple[str, ...], labels: str) -> None:
        self.changesets += (
            evolve(
                changeset,
                contexts=(*contexts, *changeset.contexts),
                labels=",".join(filter(None, (labels, changeset.labels))),
            )
            for changeset in changesets
        )

    def _resolve(self, log: Path, entry: Entry) -> list[Path]:
        """Return the files that an entry includes, in Liquibase's order.

        Raises:
            MigrationFault: There is no such file or folder.
        """
        whole = entry.kind == "include"
        target = expand_properties(entry.attributes.get("file" if whole else "path", ""), self.properties)
        name = target.removeprefix("classpath:").lstrip("/")
        relative = entry.attributes.get("relativeToChangelogFile", "").lower() == "true"
        for parent in [log.parent] if relative else list(self._list_search_path()):
            found = Path(os.path.normpath(parent / name))
            if whole and found.is_file():
                return [found]
            if not whole and found.is_dir():
                return list(_list_included(found, entry))
        if (
            entry.attributes.get("errorIfMissing" if whole else "errorIfMissingOrEmpty", "").lower()
            == "false"
        ):
            return []
        raise MigrationFault(
            f"{log.name} includes {target or 'nothing'}, which does not exist",
            hint="a path begins in a folder above the changelog; with relativeToChangelogFile, in its own",
            file=log,
            line=entry.line,
        )

    def _list_search_path(self) -> Iterator[Path]:
        """Yield the folders that a path may be relative to, from the root changelog's own upwards."""
        top = self.top.resolve()
        yield self.base
        for parent in self.base.resolve().parents:
            if parent == top or top in parent.parents:
                yield parent


def _list_included(folder: Path, entry: Entry) -> Iterator[Path]:
    ending = entry.attributes.get("endsWithFilter", "").lower()
    for path in sorted(folder.rglob("*"), key=lambda path: path.as_posix()):
        if path.is_file() and path.suffix in (".sql", *SUFFIXES) and path.name.lower().endswith(ending):
            yield path


def _select_changesets(changesets: Sequence[ChangeSet], options: SourceOptions) -> list[ChangeSet]:
    """Return the changesets of the chosen contexts and labels.

    Raises:
        MigrationFault: None are chosen, and a changeset depends on them; or an expression is faulty.
    """
    chosen: list[ChangeSet] = []
    faults: list[MigrationFault] = []
    for changeset in changesets:
        try:
            if _is_chosen(changeset, options):
                chosen.append(changeset)
        except MigrationFault as fault:
            faults.append(fault)
    if faults:
        raise combine_faults(faults[:1])
    return chosen


def _is_chosen(changeset: ChangeSet, options: SourceOptions) -> bool:
    # Liquibase called without them runs all, test data included: that is to be said, not assumed.
    contexts, labels = options.variables.get(_CONTEXTS), options.variables.get(_LABELS)
    for written, value, name in (
        (" and ".join(changeset.contexts), contexts, _CONTEXTS),
        (changeset.labels, labels, _LABELS),
    ):
        if written and value is None:
            raise MigrationFault(
                f"whether changeset {changeset.author}:{changeset.identifier} runs depends on {written}",
                hint=f'write "{name}" = "…" below variables in the configuration, as Liquibase is called; '
                '"*" runs all',
                file=changeset.file,
                line=changeset.line,
            )
    try:
        names = _split_names(contexts or _ALL)
        if names != [_ALL] and not all(matches_expression(context, names) for context in changeset.contexts):
            return False
        # A label filter is an expression over the labels of a changeset.
        return (
            not changeset.labels
            or labels in (None, _ALL)
            or matches_expression(labels or "", _split_names(changeset.labels))
        )
    except ValueError as error:
        raise MigrationFault(
            f"this context or label cannot be read: {error}",
            hint="write names with and, or, ! and parentheses",
            file=changeset.file,
            line=changeset.line,
        ) from None


def _split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _build_migration(changeset: ChangeSet, base: Path, text: str) -> MigrationFile:
    relative = Path(os.path.relpath(changeset.file, base)).as_posix()
    return MigrationFile(
        version=f"{changeset.logical_path or relative}::{changeset.identifier}::{changeset.author}",
        name="",
        kind="sql",
        path=changeset.file,
        text=text,
        checksum=hash_text(changeset.content),
        divide=partial(_divide, changeset),
        repeatable=changeset.repeatable,
        details=ChangeSetRecord.of(changeset, relative),
    )


def _divide(changeset: ChangeSet, direction: Direction) -> SqlSection:
    name = f"changeset {changeset.author}:{changeset.identifier}"
    if direction == "forward" and changeset.refusal:
        refusal = changeset.refusal
        raise MigrationFault(
            f"{name} cannot run: {refusal.message}", hint=refusal.hint, file=changeset.file, line=refusal.line
        )
    if direction == "backward" and changeset.backward is None:
        raise MigrationFault(
            f"{name} has no rollback",
            hint="write what undoes it in lines --rollback SQL; --rollback empty says that nothing does",
            file=changeset.file,
            line=changeset.line,
        )
    text = replace_delimiter(changeset.render(direction), changeset.delimiter)
    return SqlSection(changeset.file, text, changeset.transactional)


def _recognize(folder: Path) -> Evidence | None:
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in files:
        if not path.is_file() or path.suffix not in (".sql", *SUFFIXES):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if is_formatted(text) if path.suffix == ".sql" else is_changelog(text):
            return Evidence(path.name if path == folder else path.relative_to(folder).as_posix())
    return None
