"""Rehearse a split before it is offered, and compare its end with that of the migration it replaces."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture.api.operations import run
from confiture.catalog.compare_schemas import compare_schemas
from confiture.catalog.read_schema import read_objects
from confiture.config.settings import Settings
from confiture.exceptions import ConfitureError
from confiture.migrations.prepare import PreparedMigration
from confiture.migrations.version import parse_filename
from confiture.models.report import RecipeFile, Report
from confiture.models.schema import SchemaObject
from confiture.output.format import join_names
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.read_migrations import PLAIN
from confiture.wizard.card import Card
from confiture.wizard.split_files import write_split

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin
    from confiture.rehearsal.copies import RehearsalTarget

_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', {schema})
        AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 1
"""
# By name, because a split may leave the columns in another order.
_CONTENT = "SELECT {name}, count(*), coalesce(sum(hashtextextended(to_jsonb(t)::text, 0)), 0) FROM {table} t"


@frozen
class _End:
    """What a rehearsal leaves in its copy.

    Attributes:
        objects: The schema.
        content: The number of rows of each table, and a sum of their hashes.
    """

    objects: tuple[SchemaObject, ...]
    content: tuple[tuple[Any, ...], ...]


@frozen
class SplitCheck:
    """What the rehearsal of a split showed.

    Attributes:
        place: Where it was rehearsed, in words.
        faults: Why it is not offered: it failed, or it blocks for long.
        differences: What is otherwise at its end than at the end of the migration that it replaces.
        left: The relations that other statements of the migration still block for long.
    """

    place: str
    faults: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.faults:
            return f"the split is not offered: rehearsed in {self.place}, {'; '.join(self.faults)}"
        end = "ends in the same schema and rows" if not self.differences else "differs at its end"
        blocks = "no long block"
        if self.left:
            blocks += f" but those of the other statements ({join_names(self.left)})"
        return f"the split was rehearsed in {self.place}: {blocks}, {end}"


def check_split(
    settings: Settings,
    plugins: Sequence[LoadedPlugin],
    version: str,
    files: Sequence[RecipeFile],
    place: RehearsalTarget,
    sample_rows: int | None,
) -> SplitCheck:
    """Rehearse the migrations up to a version, as they are and split, and compare both ends."""
    versions = [named.version for file in files if (named := parse_filename(file.name))]
    rehearse = partial(_rehearse, plugins=plugins, place=place, sample_rows=sample_rows)
    try:
        before, whole = rehearse(settings, to=version)
        if before is None and sample_rows is not None and place == "embedded":
            # A sample can lack rows that the migration refers to, or a value that it needs. Without rows
            # its statements block empty tables, which are counted as if they had rows.
            return check_split(settings, plugins, version, files, place, None)
        with _copy_folder(settings.migrations) as folder:
            write_split(folder, files)
            after, report = rehearse(evolve(settings, migrations=folder), to=versions[-1])
    except ConfitureError as fault:
        return SplitCheck(place, (str(fault),))
    where = place if sample_rows is not None or place != "embedded" else f"{place}, without rows"
    if after is None or before is None:
        return SplitCheck(where, tuple(_list_faults(report)) or ("it was not rehearsed to its end",))
    blocked, split = _find_blocks(whole, {version}), _find_blocks(report, set(versions))
    faults = [f"it blocks {join_names(split[sql])}" for sql in split if sql not in blocked]
    if split and split.keys() == blocked.keys():
        faults.append("it blocks as before")
    left = dict.fromkeys(name for names in split.values() for name in names)
    return SplitCheck(where, tuple(faults), tuple(_list_differences(before, after)), tuple(left))


def check_card(
    settings: Settings,
    plugins: Sequence[LoadedPlugin],
    card: Card,
    place: RehearsalTarget,
    sample_rows: int | None,
) -> Card:
    """Return the card with what the rehearsal of its split showed; a split that fails is not offered."""
    strategy = card.strategy
    if not strategy.files:
        return card
    if settings.source not in (None, PLAIN):
        reason = f"write it as {settings.source} does: confiture writes plain files only"
        return evolve(card, strategy=evolve(strategy, files=(), checked=reason))
    check = check_split(settings, plugins, card.migration.version, strategy.files, place, sample_rows)
    files = () if check.faults else strategy.files
    checked = evolve(strategy, files=files, checked=check.sentence, differences=check.differences)
    return evolve(card, strategy=checked)


def _rehearse(
    settings: Settings,
    *,
    plugins: Sequence[LoadedPlugin],
    to: str,
    place: RehearsalTarget,
    sample_rows: int | None,
) -> tuple[_End | None, Report]:
    ends: list[_End] = []

    def take_end(conn: Connection[Any], report: Report, _works: tuple[PreparedMigration, ...]) -> Report:
        if report.outcome == "ok":
            ends.append(_read_end(conn, settings.schema))
        return report

    report = run(
        settings,
        to=to,
        plugins=plugins,
        dry_run=True,
        place=place,
        sample_rows=sample_rows if place == "embedded" else None,
        judge=take_end,
    )
    return (ends[0] if ends else None), report


def _read_end(conn: Connection[Any], schema: str) -> _End:
    tables = [name for (name,) in fetch_rows(conn, _TABLES.format(schema=quote_literal(schema)))]
    queries = [_CONTENT.format(name=quote_literal(table), table=table) for table in tables]
    content = fetch_rows(conn, " UNION ALL ".join(queries) + " ORDER BY 1") if queries else []
    return _End(read_objects(conn, schema), tuple(content))


@contextmanager
def _copy_folder(folder: Path) -> Iterator[Path]:
    with TemporaryDirectory(prefix="confiture-split-") as name:
        copy = Path(name) / "migrations"
        shutil.copytree(folder, copy)
        yield copy


def _list_faults(report: Report) -> Iterator[str]:
    if report.error:
        yield report.error.message
    for migration in report.migrations:
        if migration.error:
            yield f"{migration.version}: {migration.error.message}"


def _find_blocks(report: Report, versions: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the relations that each statement blocks for long, by its text."""
    found: dict[str, tuple[str, ...]] = {}
    for migration in report.migrations:
        if migration.version in versions:
            for statement in migration.statements:
                if names := (*statement.long_blocks, *statement.empty_blocks):
                    found[statement.sql.strip().rstrip(";")] = names
            known = {name for names in found.values() for name in names}
            if rest := tuple(name for name in migration.long_blocks if name not in known):
                found[f"another statement of {migration.version}"] = rest
    return found


def _list_differences(before: _End, after: _End) -> Iterator[str]:
    first_ddl, second_ddl = _index_ddl(before), _index_ddl(after)
    for difference in compare_schemas(before.objects, after.objects):
        key = difference.kind, difference.identity
        ddl, other = first_ddl.get(key), second_ddl.get(key)
        if ddl is not None and other is not None and _sort_lines(ddl) == _sort_lines(other):
            yield f"its columns are in another order: {difference.kind} {difference.identity}"
        else:
            yield f"{difference.change}: {difference.kind} {difference.identity}"
    first, second = _index_rows(before), _index_rows(after)
    for table in first.keys() & second.keys():
        if first[table] != second[table]:
            yield f"other rows: {table}"


def _index_ddl(end: _End) -> dict[tuple[str, str], str]:
    return {(item.kind, item.identity): item.ddl for item in end.objects}


def _sort_lines(ddl: str) -> list[str]:
    return sorted(line.strip().rstrip(",") for line in ddl.splitlines())


def _index_rows(end: _End) -> dict[str, tuple[Any, ...]]:
    """Return count and hash by table."""
    return {str(name): tuple(rest) for name, *rest in end.content}
