"""One case on a database of its own: rehearsed in each place, tried for real by another session."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen

from confiture.api import operations
from confiture.config.settings import Settings
from confiture.exceptions import ConfitureError
from confiture.models.report import MigrationReport, Report
from tests.accuracy.cases import Case, Facts, select_strong
from tests.accuracy.digests import find_differences, read_digests
from tests.accuracy.live import Waiting, find_waiting, read_relations

# More than any case has: all of a table is its sample.
ALL_ROWS = 100_000
OUTSIDE = "-- confiture: no-transaction\n"
_KINDS = ("table", "index", "view", "matview", "foreign")
_VIEWS = """
    SELECT relation::bigint FROM pg_locks WHERE locktype = 'relation' AND granted AND pid = %s
    AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


@frozen
class Answer:
    """What a rehearsal said of a case.

    Attributes:
        facts: As its report has it.
        not_seen: What it declares not to have seen, as ``(relation, what)``.
        refused: The message, where it was refused before anything ran.
        unequal: What was not as before afterwards.
    """

    place: str
    facts: Facts
    not_seen: tuple[tuple[str | None, str], ...] = ()
    refused: str | None = None
    unequal: tuple[str, ...] = ()


def answer_case(case: Case, url: str, place: str) -> Answer:
    """Rehearse a case, and compare the database before and after."""
    with psycopg.connect(url, autocommit=True) as conn:
        before = read_digests(conn)
    answer = _rehearse_case(case, url, place)
    with psycopg.connect(url, autocommit=True) as conn:
        after = read_digests(conn)
    facts, not_seen, refused, declared = answer
    unequal = tuple(name for name in find_differences(before, after) if name not in declared)
    return Answer(place, facts, not_seen, refused, unequal)


def _rehearse_case(case: Case, url: str, place: str) -> tuple[Facts, Any, str | None, frozenset[str]]:
    with tempfile.TemporaryDirectory() as folder:
        migrations = Path(folder, "migrations")
        migrations.mkdir()
        text = f"{OUTSIDE if case.mode == 'notx' else ''}{case.migration}\n"
        (migrations / "1_case.sql").write_text(text, encoding="utf-8")
        try:
            report = rehearse(Settings(root=Path(folder), url=url, migrations=migrations), place)
        except ConfitureError as error:
            return Facts(error=f"refused: {error}"), (), str(error), frozenset()
    (migration,) = report.migrations
    unseen = tuple((unseen_effect.relation, unseen_effect.what) for unseen_effect in migration.not_seen)
    if migration.outcome == "not_rehearsed":
        unseen = (*unseen, (None, f"not rehearsed: {migration.reason}"))
    return read_facts(migration), unseen, None, _read_declared(report)


def rehearse(settings: Settings, place: str) -> Report:
    """Rehearse what is pending in one of the three places."""
    options: dict[str, Any] = {"place": place}
    if place == "embedded":
        options["sample_rows"] = ALL_ROWS
    return operations.run(settings, dry_run=True, **options)


def _read_declared(report: Report) -> frozenset[str]:
    """Return the relations that a report says it could not leave as they were, as SQL spells them."""
    names = {leftover.relation for leftover in report.residue if leftover.what.startswith("sequence")}
    return frozenset(names | {name.removeprefix("public.") for name in names})


def read_facts(migration: MigrationReport) -> Facts:
    """Return what a report says of a migration, in the words of the tables."""
    locks = [lock for lock in migration.locks if lock.kind in _KINDS]
    return Facts(
        locks=select_strong({lock.relation: lock.mode for lock in locks}),
        rewrites=frozenset(migration.rewrites),
        builds=frozenset(
            f"new@{build.table}" if build.new else build.index for build in migration.index_builds
        ),
        scans=frozenset(migration.scans),
        reads=frozenset(migration.blocks.reads),
        writes=frozenset(migration.blocks.writes),
        long=bool(migration.long_blocks),
        transient=frozenset(lock.relation for lock in locks if lock.transient),
        error=_read_error(migration),
    )


def _read_error(migration: MigrationReport) -> str | None:
    if migration.error is None:
        return None
    return f"{migration.error.sqlstate} {migration.error.message}"


def try_case(case: Case, url: str) -> Waiting | None:
    """Run a case in an open transaction while another session tries; ``None`` where that cannot be."""
    if case.mode != "tx":
        return None
    with psycopg.connect(url) as conn, psycopg.connect(url, autocommit=True) as third:
        known = read_relations(third)
        # As a session in the midst of its work: what it learned of a partition it need not ask again.
        find_waiting(third, known, frozenset())
        try:
            conn.execute(case.migration.encode())
        except psycopg.Error:
            conn.rollback()
            return None
        held = {oid for (oid,) in third.execute(_VIEWS, (conn.info.backend_pid,))}
        views = {known[oid].name for oid in held if oid in known and known[oid].kind == "v"}
        try:
            return find_waiting(third, known, frozenset(views))
        finally:
            conn.rollback()
