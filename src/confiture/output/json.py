"""Render reports as JSON, with exactly the keys of the published schema, in its order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from confiture.models import event, schema
from confiture.models import ledger as read
from confiture.models import report as model
from confiture.models.plan import MigrationStatus, Plan, PluginStatus
from confiture.models.report import Report

# Written out, not derived from the classes: renaming a field must not change the published schema.
_KEYS: Mapping[type, str] = {
    Report: (
        "schema_version mode outcome exit_code error server_version rehearsed_on"
        " plugins migrations findings residue"
    ),
    model.PluginUse: "name distribution version",
    model.MigrationReport: (
        "version name outcome reason duration_ms rows_affected statements hooks locks rewrites index_builds"
        " scans blocks long_blocks not_seen error estimate"
    ),
    model.StatementReport: (
        "line sql duration_ms lock_wait_ms rows wal_bytes rewrites index_builds scans locks notices"
        " not_rehearsed"
    ),
    model.HookReport: "phase plugin hook outcome duration_ms rows_affected stats locks",
    model.ServerMessage: "severity message",
    model.Lock: "relation kind mode blocks held_ms transient seen",
    model.Spread: "runs duration_ms held_ms",
    model.IndexBuild: "index table new",
    model.Blocks: "reads writes",
    model.NotSeen: "relation what reason",
    model.Fault: "sqlstate message detail hint file line column phase hook",
    model.Estimate: (
        "known reason advice p50_ms interval50_ms interval90_ms confidence_percent scales_with lock_wait_ms"
    ),
    model.Unavailable: "relation reads writes",
    model.Finding: (
        "rule severity migration file line relation message recipe files basis ignored fingerprint"
    ),
    model.RecipeFile: "name directives sql",
    model.Residue: "what relation before after",
    MigrationStatus: "version name state applied_at",
    PluginStatus: "name distribution version state phases faults",
    read.HistoryRecord: (
        "version name applied_at applied_by duration_ms transactional baseline plugins hooks git_revision"
        " schema_before schema_after"
    ),
    event.Event: (
        "number kind version name direction at by duration_ms transactional plugins hooks locks git_revision"
        " server_version schema_before schema_after schema_unread error"
    ),
    event.EventHook: "phase hook outcome duration_ms",
    event.EventLock: "relation mode blocks held_ms",
    event.EventError: "message sqlstate phase hook line",
    read.PluginRecord: "name version",
    read.HookRecord: "phase hook",
    read.Disagreement: "what version name plugin recorded found message hint",
    read.StatementProgress: "line sql state at",
    read.HookProgress: "phase plugin hook progress",
    read.InvalidIndex: "index builder_pid",
    read.UnfinishedMigration: ("version name direction file statements hooks invalid_indexes notes commands"),
    read.BaselineStep: "version name outcome",
    read.AdoptionStep: "version name outcome",
    schema.ObjectDifference: "kind identity change diff",
    schema.ObjectVersion: "identity version changes",
    schema.ObjectChange: "kind description at by",
}
# Left out if empty, because they need a flag or are rarely known.
_OPTIONAL: Mapping[type, str] = {
    model.StatementReport: "reasons plan production_plan spread rewritten_bytes estimate",
    model.HookReport: "estimate",
    model.MigrationReport: "spread unavailable",
}
_MAX_DEPTH = 20


def render(report: Report) -> str:
    """Return the report as JSON."""
    return _dump_document(report)


def render_status(statuses: Sequence[MigrationStatus]) -> str:
    """Return the result of ``status`` as JSON."""
    return _dump_document({"schema_version": 1, "migrations": statuses})


def render_plugins(plugins: Sequence[PluginStatus]) -> str:
    """Return the result of ``plugins`` as JSON."""
    return _dump_document({"schema_version": 1, "plugins": plugins})


def render_order(order: Mapping[str, Sequence[str]]) -> str:
    """Return the hooks of each phase, in call order, as JSON."""
    return _dump_document({"schema_version": 1, "order": order})


def render_plan(plan: Plan) -> str:
    """Return the plan as JSON."""
    migrations = [
        {
            "version": step.version,
            "name": step.name,
            "file": step.file,
            "kind": step.kind,
            "transactional": step.transactional,
            "statements": [{"line": line, "sql": sql} for line, sql in step.statements],
        }
        for step in plan.steps
    ]
    return _dump_document(
        {
            "schema_version": 1,
            "server_version": plan.server_version,
            "migrations": migrations,
            "hooks": plan.hooks,
        }
    )


def render_history(history: event.History) -> str:
    """Return the applied migrations and all events as JSON, newest last."""
    return _dump_document({"schema_version": 1, "migrations": history.migrations, "events": history.events})


def render_verification(verification: read.Verification) -> str:
    """Return the result of ``verify`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "outcome": "failed" if verification.disagreements else "ok",
            "exit_code": verification.exit_code,
            "disagreements": verification.disagreements,
        }
    )


def render_repair(repair: read.Repair) -> str:
    """Return the result of ``repair`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "unfinished": repair.unfinished,
            "disagreements": repair.disagreements,
            "done": repair.done,
        }
    )


def render_baseline(baseline: read.Baseline) -> str:
    """Return the result of ``baseline`` as JSON."""
    return _dump_document(
        {"schema_version": 1, "dry_run": baseline.dry_run, "migrations": baseline.migrations}
    )


def render_adoption(adoption: read.AdoptionResult) -> str:
    """Return the result of ``adopt`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "source": adoption.source,
            "evidence": adoption.evidence,
            "tool_table": adoption.tool_table,
            "mirror": adoption.mirror,
            "dry_run": adoption.dry_run,
            "migrations": adoption.migrations,
            "notes": adoption.notes,
        }
    )


def render_dump(dump: read.Dump) -> str:
    """Return the result of ``dump`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "file": dump.file,
            "changed": dump.changed,
            "server_version": dump.server_version,
            "pg_dump_version": dump.pg_dump_version,
        }
    )


def render_schema_version(version: schema.SchemaVersion) -> str:
    """Return the result of ``schema-version`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "fingerprint": version.fingerprint,
            "server_version": version.server_version,
            "recorded_at": version.recorded_at,
            "migration": version.migration,
            "objects": version.objects,
        }
    )


def render_drift(drift: schema.Drift) -> str:
    """Return the result of ``drift`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "against": drift.against,
            "compared": drift.compared,
            "differences": drift.differences,
        }
    )


def render_version_diff(diff: schema.VersionDiff) -> str:
    """Return the result of ``diff`` as JSON."""
    return _dump_document(
        {
            "schema_version": 1,
            "before": diff.before,
            "after": diff.after,
            "differences": diff.differences,
        }
    )


def _dump_document(value: object) -> str:
    # ASCII only, so that no control character reaches a terminal, and a lone surrogate (from a file name that
    # is not UTF-8) does not fail to encode.
    text = json.dumps(_convert_value(value), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    # GitHub's runner executes `##[…]` anywhere in a log line; the escaped form is the same JSON.
    return text.replace("##[", "#\\u0023[")


def _convert_value(value: object, depth: int = 0) -> Any:
    """Return ``value`` as JSON types; a hook may put any object into its stats, even a recursive one."""
    if depth > _MAX_DEPTH:
        return "…"
    if (keys := _KEYS.get(type(value))) is not None:
        optional = [key for key in _OPTIONAL.get(type(value), "").split() if getattr(value, key)]
        return {
            key: _round_times(key, _convert_value(getattr(value, key), depth + 1))
            for key in [*keys.split(), *optional]
        }
    if isinstance(value, Mapping):
        return {str(key): _convert_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_convert_value(item, depth + 1) for item in value]
    return _convert_scalar(value)


def _convert_scalar(value: object) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return str(value)


def _round_times(key: str, value: Any) -> Any:
    if not key.endswith("_ms"):
        return value
    if isinstance(value, list):
        return [_round_times(key, item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
