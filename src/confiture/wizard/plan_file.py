"""Write down what an operator approved, and refuse it once anything in it is stale."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from confiture.exceptions import LedgerFault, UsageFault

PLAN_FILE = "confiture-plan.json"
_VERSION = 1


@frozen
class ApprovedMigration:
    """A migration in a plan file.

    Attributes:
        version: As written.
        name: As written.
        checksum: The SHA-256 of its file.
        level: The risk that was approved.
    """

    version: str
    name: str
    checksum: str
    level: str = "low"


@frozen
class ApprovedPlan:
    """The outcome of an approved session.

    Attributes:
        database: The database's name.
        server_version: The server's version.
        fingerprint: The fingerprint of the schema that the plan is for.
        plugins: ``name==version`` of each plugin, in order.
        migrations: What is to run, in order.
        skipped: The versions of pending migrations that are not to run.
        findings: The fingerprints of what the gate found in the rehearsal of the approved migrations.
        text_findings: What the rules say of the text of all pending migrations: version, rule, severity and
            fingerprint. It is asked again before the plan runs.
        approved_by: The operator.
        approved_at: When, in ISO 8601.
    """

    database: str
    server_version: str
    fingerprint: str
    plugins: tuple[str, ...] = ()
    migrations: tuple[ApprovedMigration, ...] = ()
    skipped: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    text_findings: tuple[str, ...] = ()
    approved_by: str = ""
    approved_at: str = ""


def render_plan_file(plan: ApprovedPlan) -> str:
    """Return the text of a plan file."""
    return json.dumps({"schema_version": _VERSION, **asdict(plan)}, indent=2) + "\n"


def read_plan_file(path: Path) -> ApprovedPlan:
    """Return the plan in a file.

    Raises:
        UsageFault: The file cannot be read, or is no plan.
    """
    hint = "make a new one: confiture wizard"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageFault(f"--plan {path}: {error.strerror}", hint=hint) from None
    except ValueError as error:
        raise UsageFault(f"--plan {path} is not JSON: {error}", hint=hint) from None
    try:
        return _convert(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageFault(f"--plan {path} is not a plan of confiture: {error!r}", hint=hint) from None


def _convert(document: dict[str, Any]) -> ApprovedPlan:
    if document["schema_version"] != _VERSION:
        raise KeyError("schema_version")
    return ApprovedPlan(
        database=str(document["database"]),
        server_version=str(document["server_version"]),
        fingerprint=str(document["fingerprint"]),
        plugins=tuple(document["plugins"]),
        migrations=tuple(ApprovedMigration(**migration) for migration in document["migrations"]),
        skipped=tuple(document["skipped"]),
        findings=tuple(document["findings"]),
        text_findings=tuple(document["text_findings"]),
        approved_by=str(document["approved_by"]),
        approved_at=str(document["approved_at"]),
    )


def find_stale(approved: ApprovedPlan, now: ApprovedPlan) -> Iterator[str]:
    """Yield what has changed since a plan was approved; ``now`` is what would be planned today."""
    if approved.database != now.database:
        yield f"it is for database {approved.database!r}, and this is {now.database!r}"
    if approved.server_version.split(".")[0] != now.server_version.split(".")[0]:
        yield f"it was made on PostgreSQL {approved.server_version}, and this is {now.server_version}"
    if approved.plugins != now.plugins:
        yield f"plugins: {_join(approved.plugins)} then, {_join(now.plugins)} now"
    yield from _find_changed_files(approved, now)
    yield from _find_new_findings(approved, now)
    if approved.fingerprint != now.fingerprint:
        yield "the schema has changed"


def _find_changed_files(approved: ApprovedPlan, now: ApprovedPlan) -> Iterator[str]:
    current = {migration.version: migration for migration in now.migrations}
    for migration in approved.migrations:
        found = current.get(migration.version)
        if found is None:
            yield f"{migration.version} {migration.name} is not pending any more, or its file is gone"
        elif found.checksum != migration.checksum:
            yield f"{migration.version} {migration.name} has changed"
    planned = {migration.version for migration in approved.migrations} | set(approved.skipped)
    for version, migration in current.items():
        if version not in planned:
            yield f"{version} {migration.name} is new"


def _find_new_findings(approved: ApprovedPlan, now: ApprovedPlan) -> Iterator[str]:
    """Yield the findings that nobody has seen, about files that are as they were."""
    known = {(migration.version, migration.checksum) for migration in now.migrations}
    versions = {
        migration.version
        for migration in approved.migrations
        if (migration.version, migration.checksum) in known
    }
    for written in sorted(set(now.text_findings) - set(approved.text_findings)):
        version, rule, severity, _ = written.split(" ", 3)
        if version in versions:
            yield f"{version} has a finding that was not there: {severity} {rule}"


def refuse_stale(path: Path, approved: ApprovedPlan, now: ApprovedPlan) -> None:
    """Refuse a plan that does not fit the database, the files or the plugins any more.

    Raises:
        LedgerFault: Something in it is stale.
    """
    if stale := tuple(find_stale(approved, now)):
        raise LedgerFault(
            f"{path.name} is stale: nothing was applied\n  " + "\n  ".join(stale),
            hint="approve what is pending now: confiture wizard",
        )


def _join(plugins: Sequence[str]) -> str:
    return ", ".join(plugins) or "none"
