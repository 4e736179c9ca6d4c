"""Django: migrations of several apps in Python, whose key is app and name: https://docs.djangoproject.com.

Which apps there are, and what their migrations do, only the project itself can say. So its ``manage.py`` is
asked, by the project's Python: once for the list, and once for the SQL of what is pending, which is that of
``manage.py sqlmigrate``: https://docs.djangoproject.com/en/stable/ref/django-admin/#sqlmigrate.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.config.urls import mask_password
from confiture.exceptions import RenderFault, SourceFault, UsageFault
from confiture.migrations.folder import hash_text, list_folder, read_file
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.generated_sql import GeneratedSql, lay_out
from confiture.sources.requirements import sort_by_requirements
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.user_python import ask_python
from confiture.sql.position import extract_line
from confiture.sql.timestamp import render_utc

_MANAGE = "manage.py"
_SCRIPT = Path(__file__).with_name("render_django.py")
Key = tuple[str, str]


@frozen
class DjangoMigration:
    """A migration, as the project lists it.

    Attributes:
        key: Its app and its name.
        path: Its file.
        requires: The keys of those that it needs.
        replaces: The keys of those that it was squashed from.
    """

    key: Key
    path: Path
    requires: tuple[Key, ...]
    replaces: tuple[Key, ...]


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "django_migrations",
        frozenset({"app", "name", "applied"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("django", "Django", _read_folder, _recognize, ledger, replaces_placeholders=True)


def _recognize(folder: Path) -> Evidence | None:
    try:
        text = (folder / _MANAGE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return Evidence(_MANAGE) if "django" in text else None


def _read_folder(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    if not (folder / _MANAGE).is_file():
        list_folder(folder)
        raise SourceFault(
            f"{folder} is not a project of Django: it has no {_MANAGE}",
            hint=f"name the folder of {_MANAGE}: --migrations DIR",
        )
    folder = folder.resolve()
    listed = {migration.key: migration for migration in _list_migrations(folder)}
    order = _sort(listed)
    if not order:
        raise SourceFault(f"no migrations of Django in {folder}", hint="write them: manage.py makemigrations")
    generated = GeneratedSql(tuple(map(_join, order)), partial(_ask_sql, folder, order))
    squashed = _find_squashed(listed)
    return tuple(_build_migration(listed[key], squashed, generated) for key in order)


def _list_migrations(folder: Path) -> list[DjangoMigration]:
    return [
        DjangoMigration(
            (found["app"], found["name"]),
            Path(found["file"]),
            tuple(map(_make_key, found["requires"])),
            tuple(map(_make_key, found["replaces"])),
        )
        for found in _ask(folder, {"mode": "list"})
    ]


def _ask(folder: Path, request: Mapping[str, Any]) -> Any:
    answer = ask_python("django", _SCRIPT, request, folder)
    if "error" in answer:
        raise UsageFault(
            f"Django cannot say what its migrations are: {mask_password(answer['error'])}",
            hint=f"try it in {folder}: python {_MANAGE} showmigrations",
        )
    return answer["answer"]


def _ask_sql(
    folder: Path, order: Sequence[Key], versions: Sequence[str], direction: Direction
) -> Mapping[str, Any]:
    keys = {_join(key): key for key in order}
    wanted = [keys[version] for version in versions]
    request = {"mode": "sql", "plan": order, "wanted": wanted, "backwards": direction == "backward"}
    answer: Mapping[str, Any] = _ask(folder, request)
    return answer


def _make_key(pair: Sequence[str]) -> Key:
    app, name = pair
    return app, name


def _join(key: Key) -> str:
    return ".".join(key)


def _find_squashed(listed: Mapping[Key, DjangoMigration]) -> dict[Key, tuple[Key, ...]]:
    """Return the migrations that others replace which are there too: those others are what is applied."""
    return {
        key: migration.replaces
        for key, migration in listed.items()
        if migration.replaces and all(replaced in listed for replaced in migration.replaces)
    }


def _sort(listed: Mapping[Key, DjangoMigration]) -> tuple[Key, ...]:
    squashed = _find_squashed(listed)
    kept = {_join(key): key for key in listed if key not in squashed}
    names = sort_by_requirements(
        {name: _resolve_requires(listed[key], squashed) for name, key in kept.items()},
        {name: place for place, name in enumerate(kept)},
    )
    return tuple(kept[name] for name in names)


def _resolve_requires(migration: DjangoMigration, squashed: Mapping[Key, tuple[Key, ...]]) -> tuple[str, ...]:
    """Return the versions that a migration needs, with those that a squashed one replaces in its place."""
    found, waiting = dict[str, None](), list(migration.requires)
    while waiting:
        key = waiting.pop()
        if key in squashed:
            waiting += squashed[key]
        else:
            found[_join(key)] = None
    return tuple(found)


def _build_migration(
    migration: DjangoMigration, squashed: Mapping[Key, tuple[Key, ...]], generated: GeneratedSql
) -> MigrationFile:
    text, version = read_file(migration.path), _join(migration.key)
    # Another release of a package may write its old migrations anew, and Django does not mind.
    foreign = "site-packages" in migration.path.parts
    return MigrationFile(
        version=version,
        name="",
        kind="sql",
        path=migration.path,
        text=text,
        checksum=hash_text(version if foreign else text),
        divide=partial(_divide, generated, version, migration.path, text),
        requires=_resolve_requires(migration, squashed),
        details=migration,
    )


def _divide(generated: GeneratedSql, version: str, path: Path, text: str, direction: Direction) -> SqlSection:
    answer = generated.get(version, direction)
    lines = _locate_operations(text)
    if "error" in answer:
        raise _build_fault(version, path, text, lines, answer, direction)
    last = len(lines) - 1
    statements = [(lines[min(number, last)] if lines else 1, sql) for number, sql in answer["statements"]]
    if direction == "backward":
        # The lines go up and not down, so they cannot be kept.
        statements = [(1, sql) for _, sql in statements]
    return SqlSection(path, lay_out(statements), transactional=not answer["outside"])


def _locate_operations(text: str) -> list[int]:
    """Return the line of each operation in a file; none if the list is computed."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if "operations" in names:
                return [element.lineno for element in node.value.elts]
    return []


def _build_fault(
    version: str,
    path: Path,
    text: str,
    lines: Sequence[int],
    answer: Mapping[str, Any],
    direction: Direction,
) -> RenderFault:
    number = answer["operation"]
    line = lines[number] if number < len(lines) else None
    app, _, name = version.partition(".")
    way = (
        f"apply it with {_MANAGE} migrate {app} {name}, and then: confiture adopt --from django"
        if direction == "forward"
        else f"undo it with {_MANAGE} migrate"
    )
    return RenderFault(
        f"{version} cannot be {'run' if direction == 'forward' else 'undone'} as SQL: "
        + mask_password(answer["error"]),
        hint=way,
        file=path,
        line=line,
        source_line=extract_line(text, line) if line else None,
    )


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    """Return what is applied; rows without a migration are passed over, as Django does.

    They are of apps that were removed, and of migrations that were squashed.
    """
    rows = fetch_rows(conn, f"SELECT app, name, {render_utc('applied')} FROM {table} ORDER BY id")
    times = {(app, name): applied_at for app, name, applied_at in rows}
    files = {migration.details.key: migration for migration in migrations}
    records = [ToolRecord(_join(key), time) for key, time in times.items() if key in files]
    faults = []
    for key, migration in files.items():
        replaced = [other for other in migration.details.replaces if other in times]
        if key in times or not replaced:
            continue
        if len(replaced) == len(migration.details.replaces):
            records.append(ToolRecord(_join(key), max(times[other] for other in replaced)))
        else:
            faults.append(f"applied in part: {_join(key)}, of which {len(replaced)} are applied")
    return ToolHistory(tuple(records), tuple(faults))


def _render_applied(table: str, migration: MigrationFile, _all: Iterable[MigrationFile]) -> str:
    app, name = map(quote_literal, migration.details.key)
    return f"INSERT INTO {table} (app, name, applied) VALUES ({app}, {name}, clock_timestamp());"


def _render_reverted(table: str, migration: MigrationFile, _all: Iterable[MigrationFile]) -> str:
    app, name = map(quote_literal, migration.details.key)
    return f"DELETE FROM {table} WHERE app = {app} AND name = {name};"
