"""Read sqitch's registry, and write to it what sqitch would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.migrations.file_notes import format_names
from confiture.models.migration import MigrationFile
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import ToolHistory, ToolRecord
from confiture.sources.sqitch_plan import PlanChange, PlanDependency, PlanEntry, SqitchPlan
from confiture.sources.sql_files import hash_line_ends
from confiture.sql.timestamp import render_utc

# The person who deploys: sqitch takes it from its configuration, and confiture has none.
_NAME, _EMAIL = "session_user", "session_user || '@localhost'"


@frozen
class ChangeDetails:
    """What the registry needs to know of a migration.

    Attributes:
        plan: The plan.
        change: Its change.
    """

    plan: SqitchPlan
    change: PlanChange


def get_details(migration: MigrationFile) -> ChangeDetails:
    """Return the details of a migration of sqitch."""
    assert isinstance(migration.details, ChangeDetails)
    return migration.details


def read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    """Return what sqitch has deployed of this project."""
    if not migrations:
        return ToolHistory()
    project = quote_literal(get_details(migrations[0]).plan.project)
    rows = fetch_rows(
        conn,
        f"SELECT change_id::text, change::text, script_hash::text, {render_utc('committed_at')} FROM {table}"
        f" WHERE project = {project} ORDER BY committed_at",
    )
    changes = {get_details(migration).change: migration for migration in migrations}
    names = [change.name for change in changes], [name for _, name, _, _ in rows]
    by_id = {change.id: migration for change, migration in changes.items()}
    by_name = {
        change.name: migration
        for change, migration in changes.items()
        if all(found.count(change.name) == 1 for found in names)
    }
    records: list[ToolRecord] = []
    renamed: list[str] = []
    for change_id, name, script_hash, committed_at in rows:
        found = by_id.get(change_id) or by_name.get(name)
        if found is None:
            records.append(ToolRecord(f"{name} ({change_id[:10]})", committed_at))
            continue
        if get_details(found).change.id != change_id:
            renamed.append(name)
        changed = script_hash not in (None, change_id, *_hash_script(found.path))
        records.append(ToolRecord(found.version, committed_at, changed))
    notes = (f"deployed from another plan, as the ids differ: {format_names(renamed)}",) if renamed else ()
    return ToolHistory(tuple(records), notes=notes)


def _hash_script(path: Path) -> list[str]:
    """Return the hash of a script as it is, then those with other line ends."""
    return [digest.hex() for digest in hash_line_ends(path, "sha1")]


def render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    """Return SQL that records a change as deployed: in five tables, as sqitch does."""
    return " ".join(_render_deployed(table.removesuffix("changes"), migration.path, get_details(migration)))


def _render_deployed(schema: str, script: Path, details: ChangeDetails) -> Iterator[str]:
    plan, change = details.plan, details.change
    project = {"project": _quote(plan.project)}
    registered = {
        **project,
        "uri": _quote(plan.uri),
        "creator_name": _NAME,
        "creator_email": _EMAIL,
    }
    yield _render_insert(f"{schema}projects", registered).removesuffix(";") + " ON CONFLICT DO NOTHING;"
    what = {"change_id": _quote(change.id), **project}
    script_hash = _quote(_hash_script(script)[0])
    deployed = {**what, "change": _quote(change.name), "script_hash": script_hash, **_render_entry(change)}
    yield _render_insert(f"{schema}changes", deployed)
    for dependency in change.dependencies:
        yield _render_insert(f"{schema}dependencies", _render_dependency(schema, change, dependency))
    for tag in change.tags:
        tagged = {**what, "tag_id": _quote(tag.id), "tag": _quote(f"@{tag.name}"), **_render_entry(tag)}
        yield _render_insert(f"{schema}tags", tagged)
    yield _render_event(schema, "deploy", details)


def render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    """Return SQL that removes a change, and keeps the event, as sqitch does."""
    schema, details = table.removesuffix("changes"), get_details(migration)
    deleted = [
        f"DELETE FROM {schema}{name} WHERE change_id = {_quote(details.change.id)};"
        for name in ("tags", "dependencies", "changes")
    ]
    return " ".join((*deleted, _render_event(schema, "revert", details)))


def _render_event(schema: str, event: str, details: ChangeDetails) -> str:
    change = details.change
    required = [dependency.label for dependency in change.dependencies if not dependency.conflict]
    conflicting = [dependency.label for dependency in change.dependencies if dependency.conflict]
    values = {
        "event": _quote(event),
        "change_id": _quote(change.id),
        "change": _quote(change.name),
        "project": _quote(details.plan.project),
        "tags": _render_array([f"@{tag.name}" for tag in change.tags]),
        "requires": _render_array(required),
        "conflicts": _render_array(conflicting),
        **_render_entry(change),
    }
    return _render_insert(f"{schema}events", values)


def _render_dependency(schema: str, change: PlanChange, dependency: PlanDependency) -> dict[str, str]:
    # A change of another project is known by its name alone.
    other = (
        f"(SELECT change_id FROM {schema}changes WHERE project = {_quote(dependency.project)}"
        f" AND change = {_quote(dependency.change)} ORDER BY committed_at DESC LIMIT 1)"
    )
    own = _quote(dependency.target or dependency.label)
    required = own if dependency.project is None else other
    return {
        "change_id": _quote(change.id),
        "type": _quote("conflict" if dependency.conflict else "require"),
        "dependency": _quote(dependency.label),
        "dependency_id": "NULL" if dependency.conflict else required,
    }


def _render_entry(entry: PlanEntry) -> dict[str, str]:
    return {
        "note": _quote(entry.note),
        "committer_name": _NAME,
        "committer_email": _EMAIL,
        "planned_at": _quote(entry.planned_at),
        "planner_name": _quote(entry.planner_name),
        "planner_email": _quote(entry.planner_email),
    }


def _render_insert(table: str, values: dict[str, str]) -> str:
    """Return an INSERT of one row; ``values`` are SQL, by column."""
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())});"


def _render_array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(map(quote_literal, values))}]::text[]"


def _quote(text: str | None) -> str:
    return "NULL" if text is None else quote_literal(text)
