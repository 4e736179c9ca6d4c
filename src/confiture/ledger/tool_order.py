"""Compare the order of migration files with the order in which another tool applied them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from confiture.migrations.file_notes import format_names
from confiture.migrations.planner import find_skipped
from confiture.migrations.version import parse_version
from confiture.models.migration import MigrationFile
from confiture.sources.source import ToolHistory

SORTINGS = ("number", "text")
ReadSorted = Callable[[str | None], tuple[MigrationFile, ...]]


@frozen
class OrderedMigrations:
    """The migrations in the order that the tool's ledger shows.

    Attributes:
        migrations: The migrations.
        sorting: ``"number"`` or ``"text"`` if that is not the convention's own order; else ``None``.
        notes: What the order says against the files, for people.
    """

    migrations: tuple[MigrationFile, ...]
    sorting: str | None = None
    notes: tuple[str, ...] = ()


def order_migrations(read: ReadSorted, history: ToolHistory) -> OrderedMigrations:
    """Return the migrations as the convention sorts them, or as the ledger shows that the tool did.

    Args:
        read: Reads the migrations sorted so; with ``None``, as the convention says.
        history: What the tool applied, in its order.
    """
    usual = read(None)
    if not _find_contradictions(usual, history):
        return OrderedMigrations(usual)
    for sorting in SORTINGS:
        other = read(sorting)
        if other != usual and not _find_contradictions(other, history):
            note = f"sorted by {sorting}, as its ledger shows: {_describe_difference(usual, other)}"
            return OrderedMigrations(other, sorting, (note,))
    return OrderedMigrations(usual, None, _describe_contradictions(usual, history))


def _find_contradictions(migrations: Sequence[MigrationFile], history: ToolHistory) -> list[str]:
    """Return the versions that were applied after one that comes later, or not at all before one."""
    places = {
        parse_version(migration.version): place
        for place, migration in enumerate(migrations)
        if not migration.repeatable
    }
    applied = [record for record in history.applied if parse_version(record.version) in places]
    if any(migration.requires is not None for migration in migrations):
        done = {parse_version(record.version) for record in applied}
        return [migration.version for migration in find_skipped(migrations, done)]
    if not history.ordered:
        done = {parse_version(record.version) for record in applied}
        last = max((places[key] for key in done), default=-1)
        before = [migration for migration in migrations[:last] if not migration.repeatable]
        return [migration.version for migration in before if parse_version(migration.version) not in done]
    late, highest = [], -1
    for record in applied:
        place = places[parse_version(record.version)]
        if place < highest:
            late.append(record.version)
        highest = max(highest, place)
    return late


def _describe_difference(usual: Sequence[MigrationFile], other: Sequence[MigrationFile]) -> str:
    place = next(
        place for place, (one, two) in enumerate(zip(usual, other, strict=True)) if one.version != two.version
    )
    return f"{other[place].version} comes before {usual[place].version}"


def _describe_contradictions(usual: Sequence[MigrationFile], history: ToolHistory) -> tuple[str, ...]:
    late = _find_contradictions(usual, history)
    if history.ordered and all(migration.requires is None for migration in usual):
        return (f"applied after a later one, out of order: {format_names(late)}",)
    return (
        f"pending below an applied one: {format_names(late)}; to apply them: "
        "confiture run --allow-out-of-order",
    )
