"""yoyo: ``.sql`` files with their ``.rollback.sql``, and ``.py`` files whose steps are SQL.

A migration is identified by its file's name without the suffix. The order is that of the dependencies, and of
the names where they leave a choice: https://ollycope.com/software/yoyo/latest/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from attrs import evolve, frozen

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import combine_faults
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.sources.source import Evidence, Source, SourceOptions
from confiture.sources.sql_files import build_migration, match_files, refuse_duplicates, refuse_nothing
from confiture.sources.yoyo_ledger import build_ledger
from confiture.sources.yoyo_python import YoyoSteps, read_steps
from confiture.sql.lexer import find_statement_start

_NAME = r"(?!_tmp_yoyonew)(?P<id>.+)\.(?P<suffix>sql|py)"
_ROLLBACK = ".rollback"
_POST_APPLY = "post-apply"
_COMMENT = re.compile(r"\s*(?:--.*)?")
_DIRECTIVE = re.compile(r"\s*--\s*(?P<name>transactional|depends)\s*:\s*(?P<value>.*)")
_GENERATED_NAME = re.compile(r"\d{8}_\d{2}_[A-Za-z0-9]{5}(?:-.*)?\.(?:sql|py)")
_IMPORT = re.compile(r"^from yoyo import|^import yoyo\b", re.MULTILINE)


@frozen
class _Header:
    """What the comments above the SQL of a file say.

    Attributes:
        depends: The identifiers of the migrations that come before.
        transactional: False if it runs outside a transaction.
    """

    depends: tuple[str, ...] = ()
    transactional: bool = True


def build_source() -> Source:
    """Return the source."""
    return Source("yoyo", "yoyo", _read_folder, _recognize, build_ledger())


def _read_folder(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    found = {path.name: match for path, match in match_files(folder, _NAME)}
    migrations: list[MigrationFile] = []
    depends: dict[str, tuple[str, ...]] = {}
    faults: list[MigrationFault] = []
    for name, match in found.items():
        if name.endswith(f"{_ROLLBACK}.sql"):
            continue
        path = folder / name
        rollback = folder / f"{match['id']}{_ROLLBACK}.sql"
        try:
            _refuse_post_apply(path)
            migration, before = _read_file(path, match["id"], rollback if rollback.name in found else None)
        except MigrationFault as fault:
            faults.append(fault)
            continue
        migrations.append(migration)
        depends[migration.version] = before
    if faults:
        raise combine_faults(faults)
    refuse_nothing(folder, migrations, "yoyo", "NAME.sql, NAME.rollback.sql, NAME.py")
    return _sort_by_dependencies(refuse_duplicates(migrations), depends)


def _refuse_post_apply(path: Path) -> None:
    if path.name.startswith(_POST_APPLY):
        raise MigrationFault(
            f"yoyo runs {path.name} after every apply, and confiture does not",
            hint="move it out of the folder: a hook of confiture takes its place",
            file=path,
        )


def _read_file(path: Path, identifier: str, rollback: Path | None) -> tuple[MigrationFile, tuple[str, ...]]:
    migration = build_migration(identifier, "", path, down=rollback if path.suffix == ".sql" else None)
    if path.suffix == ".py":
        steps = read_steps(path, migration.text)
        return evolve(migration, divide=partial(_divide_steps, migration, steps)), steps.depends
    header = _read_header(migration)
    return evolve(migration, divide=partial(_divide_sql, migration, header)), header.depends


def _read_header(migration: MigrationFile) -> _Header:
    """Return what the comments above the first SQL say, as yoyo reads them."""
    depends: list[str] = []
    transactional = True
    for number, line in enumerate(migration.text.split("\n"), 1):
        if not _COMMENT.fullmatch(line):
            break
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            continue
        if found["name"] == "depends":
            depends += found["value"].split()
            continue
        value = found["value"].strip().lower()
        if value not in ("true", "false"):
            raise MigrationFault(
                f"transactional is true or false, not {found['value']!r}",
                hint="write -- transactional: false",
                file=migration.path,
                line=number,
                source_line=line,
            )
        transactional = value == "true"
    return _Header(tuple(depends), transactional)


def _divide_sql(migration: MigrationFile, header: _Header, direction: Direction) -> SqlSection:
    if direction == "forward":
        return SqlSection(migration.path, migration.text, header.transactional)
    if migration.down_path is None:
        # A migration that does nothing has nothing to undo.
        if find_statement_start(migration.text) is None:
            return SqlSection(migration.path, "")
        raise _build_no_rollback_fault(migration, f"write {migration.path.stem}{_ROLLBACK}.sql beside it")
    return SqlSection(migration.down_path, migration.down_text or "", header.transactional)


def _divide_steps(migration: MigrationFile, steps: YoyoSteps, direction: Direction) -> SqlSection:
    if direction == "backward" and steps.forward and not steps.backward:
        raise _build_no_rollback_fault(migration, "give its steps their second argument")
    return SqlSection(migration.path, steps.render(direction), steps.transactional)


def _build_no_rollback_fault(migration: MigrationFile, way: str) -> MigrationFault:
    return MigrationFault(
        f"migration {migration.label} has no rollback",
        hint=f"{way}; an empty one undoes nothing",
        file=migration.path,
    )


def _sort_by_dependencies(
    migrations: Sequence[MigrationFile], depends: dict[str, tuple[str, ...]]
) -> tuple[MigrationFile, ...]:
    """Return each after those it depends on; among those that may come next, the first by name."""
    by_id = {migration.version: migration for migration in migrations}
    _refuse_unknown(by_id, depends)
    sorter = TopologicalSorter(depends)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _build_cycle_fault(by_id, error.args[1]) from None
    names = sorted(by_id, key=lambda identifier: by_id[identifier].path.name)
    places = {identifier: place for place, identifier in enumerate(names)}
    ready, ordered = list(sorter.get_ready()), list[MigrationFile]()
    while ready:
        ready.sort(key=places.__getitem__, reverse=True)
        identifier = ready.pop()
        ordered.append(by_id[identifier])
        sorter.done(identifier)
        ready += sorter.get_ready()
    return tuple(ordered)


def _refuse_unknown(by_id: dict[str, MigrationFile], depends: dict[str, tuple[str, ...]]) -> None:
    faults = [
        MigrationFault(
            f"{by_id[identifier].path.name} depends on {name}, which does not exist",
            hint="write the name of its file, without .sql or .py",
            file=by_id[identifier].path,
        )
        for identifier, names in depends.items()
        for name in names
        if name not in by_id
    ]
    if faults:
        raise combine_faults(faults)


def _build_cycle_fault(by_id: dict[str, MigrationFile], cycle: Iterable[str]) -> MigrationFault:
    names = list(cycle)
    return MigrationFault(
        f"these migrations depend on each other: {' and '.join(sorted(set(names)))}",
        hint="remove one of the dependencies",
        file=by_id[names[0]].path,
    )


def _recognize(folder: Path) -> Evidence | None:
    for path, match in match_files(folder, _NAME):
        if match["id"].endswith(_ROLLBACK) or _GENERATED_NAME.fullmatch(path.name):
            return Evidence(path.name)
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".py" and _IMPORT.search(text):
            return Evidence(path.name)
        if path.suffix == ".sql" and re.match(r"\s*--\s*depends:", text):
            return Evidence(path.name)
    return None
