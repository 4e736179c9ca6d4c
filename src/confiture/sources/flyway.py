"""Flyway: ``V1__name.sql``, its ``U1__name.sql``, ``R__name.sql`` and ``B1__name.sql``, in subfolders too.

The rules are those of https://documentation.red-gate.com/fd/migrations-184127470.html, and of Flyway's source
where that is silent: https://github.com/flyway/flyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from attrs import evolve, frozen

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import combine_faults, hash_text, list_folder
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.sources.flyway_ledger import ScriptRecord, build_ledger, parse_flyway_version
from confiture.sources.flyway_script import (
    compute_checksum,
    expand_script,
    is_transactional,
    read_script_config,
)
from confiture.sources.source import Evidence, Source, SourceOptions
from confiture.sources.sql_files import build_migration, refuse_nothing

_NAME = re.compile(
    r"(?:(?P<prefix>[VUB])(?P<version>\d+(?:[._]\d+)*)(?:__(?P<name>.*))?|R__(?P<repeated>.*))\.sql",
    re.DOTALL,
)
_OTHER_LANGUAGE = re.compile(r"(?:[VUB]\d[\d._]*|R)__.*\.(?:java|class|kt|groovy|ps1|bat|cmd|sh|bash|py)")
# https://documentation.red-gate.com/fd/callback-events-277579295.html
_CALLBACK = re.compile(
    r"(?:before|after)(?:Each)?(?:Migrate|Undo|Clean|Info|Validate|Baseline|Repair|Connect|Versioned|Repeatables)"
    r"\w*(?:__.*)?\.sql"
)


@frozen
class _Script:
    """One SQL file whose name is one of Flyway's.

    Attributes:
        prefix: ``"V"``, ``"U"``, ``"B"`` or ``"R"``.
        version: As Flyway writes it, with dots; empty for a repeatable one.
        raw_name: What follows the two underscores, as written.
        path: The file.
        script: Its path relative to the folder, which Flyway records.
    """

    prefix: str
    version: str
    raw_name: str
    path: Path
    script: str

    @property
    def description(self) -> str:
        """The name as Flyway records it."""
        return self.raw_name.replace("_", " ")

    @property
    def key(self) -> tuple[int, ...]:
        """What its version compares by."""
        return parse_flyway_version(self.version)

    @property
    def title(self) -> str:
        """Its version, or what stands for one."""
        return f"version {self.version}" if self.version else f"the repeatable migration {self.description!r}"


def build_source() -> Source:
    """Return the source."""
    return Source("flyway", "Flyway", _read_folder, _recognize, build_ledger(), replaces_placeholders=True)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    scripts = _find_scripts(folder)
    by_prefix = {prefix: [script for script in scripts if script.prefix == prefix] for prefix in "VUBR"}
    for group in by_prefix.values():
        _refuse_twice(group)
    undo = {script.key: script for script in by_prefix["U"]}
    versioned = sorted(by_prefix["V"], key=lambda script: script.key)
    if baseline := _choose_baseline(by_prefix["B"], versioned):
        versioned = [baseline, *(script for script in versioned if script.key > baseline.key)]
    repeatable = sorted(by_prefix["R"], key=lambda script: script.description)
    migrations = [
        *(_build_versioned(script, undo.get(script.key), options) for script in versioned),
        *(_build_repeatable(script, options) for script in repeatable),
    ]
    refuse_nothing(folder, migrations, "Flyway", "V1__name.sql, R__name.sql")
    return tuple(migrations)


def _find_scripts(folder: Path) -> list[_Script]:
    list_folder(folder)
    found: list[_Script] = []
    faults: list[MigrationFault] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if match := _NAME.fullmatch(path.name):
            version = (match["version"] or "").replace("_", ".")
            raw_name = match["repeated"] if match["prefix"] is None else match["name"] or ""
            script = path.relative_to(folder).as_posix()
            found.append(_Script(match["prefix"] or "R", version, raw_name, path, script))
        elif fault := _find_name_fault(path):
            faults.append(fault)
    if faults:
        raise combine_faults(faults)
    return found


def _find_name_fault(path: Path) -> MigrationFault | None:
    """Return the fault of a file that Flyway would run, and that is no SQL migration."""
    if _OTHER_LANGUAGE.fullmatch(path.name):
        return MigrationFault(
            f"{path.name} is not SQL: confiture runs only the SQL migrations of Flyway",
            hint=f"write its SQL to {path.stem}.sql, with the same version",
            file=path,
        )
    if _CALLBACK.fullmatch(path.name):
        return MigrationFault(
            f"{path.name} is a callback of Flyway, which confiture does not run",
            hint="move it out of the folder: a repeatable migration or a hook of confiture takes its place",
            file=path,
        )
    return None


def _refuse_twice(scripts: Iterable[_Script]) -> None:
    groups: dict[object, list[_Script]] = {}
    for script in scripts:
        key = script.key if script.version else script.description
        groups.setdefault(key, []).append(script)
    faults = [
        MigrationFault(
            f"{group[0].title} is used {len(group)} times: {' and '.join(script.script for script in group)}",
            hint="give all but one of them a new version" if group[0].version else "rename all but one",
            file=group[-1].path,
        )
        for group in groups.values()
        if len(group) > 1
    ]
    if faults:
        raise combine_faults(faults)


def _choose_baseline(baselines: Sequence[_Script], versioned: Sequence[_Script]) -> _Script | None:
    """Return the baseline migration to begin with, if the files that it stands for are gone.

    While they are there, they make the same schema, in an old database and in a new one.
    """
    first = min((script.key for script in versioned), default=None)
    usable = [script for script in baselines if first is None or script.key <= first]
    return max(usable, key=lambda script: script.key) if usable else None


def _build_versioned(script: _Script, undo: _Script | None, options: SourceOptions) -> MigrationFile:
    migration = build_migration(
        script.version, script.description, script.path, down=undo.path if undo else None
    )
    return evolve(
        migration,
        divide=partial(_divide, migration, undo, options),
        details=ScriptRecord(
            script.prefix,
            script.script,
            compute_checksum(migration.text),
            undo.script if undo else None,
            compute_checksum(migration.down_text or "") if undo else None,
        ),
    )


def _build_repeatable(script: _Script, options: SourceOptions) -> MigrationFile:
    # Flyway's checksum of a repeatable one is that of the text with the values of its placeholders, so that
    # it runs again when a value changes.
    migration = build_migration(f"R__{script.raw_name}", "", script.path)
    config = read_script_config(script.path)
    text = expand_script(script.path, migration.text, config, options)
    return evolve(
        migration,
        checksum=hash_text(text),
        repeatable=True,
        divide=partial(_divide, migration, None, options),
        details=ScriptRecord("R", script.script, compute_checksum(text)),
    )


def _divide(
    migration: MigrationFile, undo: _Script | None, options: SourceOptions, direction: Direction
) -> SqlSection:
    if direction == "forward":
        return _read_section(migration.path, migration.text, options)
    if undo is None:
        raise MigrationFault(
            f"migration {migration.label} has no undo migration",
            hint=f"write U{migration.path.name[1:]} beside it; an empty one undoes nothing",
            file=migration.path,
        )
    return _read_section(undo.path, migration.down_text or "", options)


def _read_section(path: Path, text: str, options: SourceOptions) -> SqlSection:
    config = read_script_config(path)
    expanded = expand_script(path, text, config, options)
    return SqlSection(path, expanded, is_transactional(path, expanded, config))


def _recognize(folder: Path) -> Evidence | None:
    for path in sorted(folder.rglob("*.sql")):
        if _NAME.fullmatch(path.name) and "__" in path.name:
            return Evidence(path.relative_to(folder).as_posix())
    return None
