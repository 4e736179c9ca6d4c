"""sqitch: ``sqitch.plan`` says the order; each change has scripts in ``deploy``, ``revert`` and ``verify``.

A verify script runs after its deploy script, in the same transaction, and what it does is rolled back:
https://sqitch.org/docs/manual/sqitchtutorial/.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from attrs import evolve

from confiture.exceptions import MigrationFault, SourceFault
from confiture.migrations.folder import combine_faults, list_folder, read_file
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.sources.source import Evidence, Source, SourceOptions, ToolLedger
from confiture.sources.sqitch_layout import SqitchLayout, find_layout
from confiture.sources.sqitch_plan import PlanChange, SqitchPlan, read_plan
from confiture.sources.sqitch_registry import (
    ChangeDetails,
    read_history,
    render_applied,
    render_reverted,
)
from confiture.sources.sql_files import build_migration, refuse_duplicates, refuse_nothing


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "changes",
        frozenset({"change_id", "script_hash", "change", "project", "committed_at", "planner_email"}),
        read_history,
        render_applied,
        render_reverted,
    )
    return Source("sqitch", "sqitch", _read_project, _recognize, ledger)


def _read_project(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    list_folder(folder)
    layout = find_layout(folder)
    if layout.engine not in ("", "pg"):
        raise SourceFault(
            f"the engine in sqitch.conf is {layout.engine!r}, and not 'pg'",
            hint="confiture runs migrations of PostgreSQL only; name their folder: --migrations DIR",
        )
    plan = read_plan(layout.plan)
    faults: list[MigrationFault] = []
    migrations: list[MigrationFile] = []
    for change in plan.changes:
        try:
            migrations.append(_read_change(layout, plan, change))
        except MigrationFault as fault:
            faults.append(fault)
    if faults:
        raise combine_faults(faults)
    refuse_nothing(folder, migrations, "sqitch", "deploy/NAME.sql, each with a line in sqitch.plan")
    return refuse_duplicates(migrations)


def _read_change(layout: SqitchLayout, plan: SqitchPlan, change: PlanChange) -> MigrationFile:
    deploy, revert, verify = (layout.find_script(kind, change) for kind in ("deploy", "revert", "verify"))
    if not deploy.is_file():
        raise MigrationFault(
            f"{layout.plan.name} names {change.name}, and there is no {deploy.parent.name}/{deploy.name}",
            hint="restore the script, or remove the line of the plan",
            file=layout.plan,
            line=change.line,
        )
    down = revert if revert.is_file() else None
    tags = " ".join(f"@{tag.name}" for tag in change.tags)
    built = build_migration(change.version, tags, deploy, partial(_divide, down), down=down)
    check = SqlSection(verify, read_file(verify)) if verify.is_file() else None
    return evolve(built, check=check, details=ChangeDetails(plan, change))


def _divide(down: Path | None, path: Path, text: str, direction: Direction) -> SqlSection | None:
    if direction == "backward" and path != down:
        return None
    # psql commits each statement of a script without BEGIN: only what cannot be in a transaction needs that.
    return SqlSection(path, text, outside_if_needed=True)


def _recognize(folder: Path) -> Evidence | None:
    try:
        layout = find_layout(folder)
    except SourceFault:
        return None
    return Evidence(layout.plan.name)
