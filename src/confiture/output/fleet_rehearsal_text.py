"""Render a fleet's rehearsal: how the targets differ, the sample, the gate, and how long the run takes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from attrs import asdict

from confiture.escape import escape_control
from confiture.models.fleet_rehearsal import FleetFinding, FleetRehearsal, RolloutEstimate, SampledTarget
from confiture.models.report import Outcome, Report
from confiture.output.estimates import format_estimate
from confiture.output.findings import render_findings, render_verdict
from confiture.output.fleet_drift import build_document, list_groups
from confiture.output.format import (
    align_columns,
    format_count,
    format_duration,
    format_size,
    join_names,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
)
from confiture.output.listings import join_lines


def render(rehearsal: FleetRehearsal, *, colour: bool = False) -> str:
    """Return the targets by what they are like, the sample, the findings, and the estimate of the rollout."""
    sample = [_build_row(target) for target in rehearsal.sampled]
    left = rehearsal.left_out
    report = build_report(rehearsal)
    lines = [
        *list_groups(rehearsal.drift),
        *_list_pending(rehearsal),
        "",
        *(align_columns(sample) if sample else []),
        *([style_notable(f"{format_count(left, 'kind')} of targets not in the sample")] if left else []),
        *([""] if sample else []),
        *_list_findings(rehearsal),
        *render_verdict(report),
        _summarize(rehearsal),
    ]
    return join_lines(lines, colour)


def _list_pending(rehearsal: FleetRehearsal) -> list[str]:
    """Return a line for each set of pending migrations, the most frequent first."""
    counts = Counter(shape.pending for shape in rehearsal.shapes if shape.pending is not None)
    lines = [
        f"{format_count(count, 'target')} with {_describe_pending(pending)}"
        for pending, count in counts.most_common()
    ]
    refused = [shape for shape in rehearsal.shapes if shape.fault and shape.fingerprint]
    return lines + [
        style_bad(f"{escape_control(shape.name)}: {escape_control(shape.fault)}") for shape in refused
    ]


def _describe_pending(pending: tuple[str, ...]) -> str:
    if not pending:
        return "nothing to do"
    return f"{format_count(len(pending), 'pending migration')}: {join_names(pending)}"


def _build_row(target: SampledTarget) -> tuple[str, ...]:
    done = target.report.outcome == "ok" and not target.error
    state = style_good("rehearsed") if done else style_bad("failed")
    size = "" if target.shape.size_bytes is None else format_size(target.shape.size_bytes)
    took = sum(migration.duration_ms or 0.0 for migration in target.report.migrations)
    alike = f"{target.why}, 1 of {target.alike}" if target.alike > 1 else f"{target.why}, no other like it"
    estimate = format_estimate(target.estimate) if target.estimate else ""
    words = escape_control(target.error) if target.error else estimate
    return (
        state,
        escape_control(target.shape.name),
        size,
        style_quiet(alike),
        f"took {format_duration(took)}" if target.report.migrations else "",
        words,
    )


def _list_findings(rehearsal: FleetRehearsal) -> list[str]:
    lines: list[str] = []
    for fleet_finding in rehearsal.findings:
        if fleet_finding.finding.ignored:
            continue
        *shown, _ = render_findings(Report("dry-run", "ok", 0, findings=(fleet_finding.finding,)))
        lines += [*shown, style_quiet(f"  {_describe_targets(fleet_finding, rehearsal)}"), ""]
    return lines


def _describe_targets(fleet_finding: FleetFinding, rehearsal: FleetRehearsal) -> str:
    names = fleet_finding.targets
    everywhere = len(names) == len(rehearsal.sampled) and len(names) > 1
    return "on every target of the sample" if everywhere else f"on {join_names(names)}"


def _summarize(rehearsal: FleetRehearsal) -> str:
    if not rehearsal.sampled and not rehearsal.exit_code:
        return style_good(f"{format_count(len(rehearsal.shapes), 'target')}: nothing to do on any of them")
    failed = sum(target.error is not None for target in rehearsal.sampled)
    head = f"rehearsed {len(rehearsal.sampled)} of {format_count(len(rehearsal.shapes), 'target')}"
    head += f", {failed} failed" if failed else ""
    line = (
        f"{head}; {describe_rollout(rehearsal.rollout, rehearsal.workers)}; nothing was changed or recorded"
    )
    return style_bad(line) if rehearsal.exit_code else line


def describe_rollout(rollout: RolloutEstimate, workers: int) -> str:
    """Return how long the whole takes, as a sentence."""
    waves = [wave for wave in rollout.waves if wave.targets]
    targets = sum(wave.targets for wave in waves)
    soak = f", {format_duration(rollout.soak_ms)} of them to soak" if rollout.soak_ms else ""
    without = f", without {format_count(rollout.failing, 'target')} that will fail" if rollout.failing else ""
    tail = (
        f"{soak}: {format_count(targets, 'target')}, {workers} at a time, in"
        f" {format_count(len(waves), 'wave')}{without}"
    )
    about = format_duration(rollout.p50_ms)
    if not rollout.known:
        reason = escape_control(rollout.reason)
        return f"how long the run takes is unknown ({reason}); at the rehearsal's times about {about}{tail}"
    low, high = map(format_duration, rollout.interval90_ms)
    return f"the run takes about {about} ({low} to {high}){tail}"


def build_report(rehearsal: FleetRehearsal) -> Report:
    """Return the rehearsal as a report: a migration for each migration of each target of the sample."""
    from confiture.output.fleet_report import name_migrations

    outcome: Outcome = "failed" if any(target.error for target in rehearsal.sampled) else "ok"
    first = next((target.report for target in rehearsal.sampled), None)
    return Report(
        "dry-run",
        outcome,
        rehearsal.exit_code,
        server_version=first.server_version if first else None,
        rehearsed_on=first.rehearsed_on if first else None,
        plugins=first.plugins if first else (),
        migrations=tuple(migration for target in rehearsal.sampled for migration in name_migrations(target)),
        findings=tuple(fleet_finding.finding for fleet_finding in rehearsal.findings),
        rules=tuple(
            {rule.rule: rule for target in rehearsal.sampled for rule in target.report.rules}.values()
        ),
        verdict=rehearsal.verdict,
        notes=(describe_rollout(rehearsal.rollout, rehearsal.workers),),
    )


def render_json(rehearsal: FleetRehearsal) -> str:
    """Return the same as JSON."""
    rollout = rehearsal.rollout
    document = {
        "schema_version": 1,
        "exit_code": rehearsal.exit_code,
        "drift": build_document(rehearsal.drift),
        "targets": [
            {
                "name": shape.name,
                "pending": shape.pending,
                "size_bytes": shape.size_bytes,
                "fingerprint": shape.fingerprint,
                "duration_ms": shape.duration_ms,
                "fault": shape.fault,
            }
            for shape in rehearsal.shapes
        ],
        "sample": [_build_sampled(target) for target in rehearsal.sampled],
        "kinds_left_out": rehearsal.left_out,
        "findings": [
            {**_build_finding(fleet_finding), "targets": fleet_finding.targets}
            for fleet_finding in rehearsal.findings
        ],
        "verdict": asdict(rehearsal.verdict) if rehearsal.verdict else None,
        "rollout": {
            "known": rollout.known,
            "reason": rollout.reason,
            "p50_ms": rollout.p50_ms if rollout.known else None,
            "at_rehearsed_times_ms": rollout.p50_ms,
            "interval90_ms": rollout.interval90_ms if rollout.known else None,
            "soak_ms": rollout.soak_ms,
            "left_out": rollout.failing,
            "waves": [asdict(wave) for wave in rollout.waves],
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _build_sampled(target: SampledTarget) -> dict[str, Any]:
    return {
        "name": target.shape.name,
        "why": target.why,
        "alike": target.alike,
        "outcome": target.report.outcome,
        "exit_code": target.report.exit_code,
        "error": target.error,
        "duration_ms": sum(migration.duration_ms or 0.0 for migration in target.report.migrations),
        "estimate": asdict(target.estimate) if target.estimate else None,
    }


def _build_finding(fleet_finding: FleetFinding) -> dict[str, Any]:
    finding = fleet_finding.finding
    names = "rule severity migration file line relation message recipe basis ignored fingerprint"
    return {name: getattr(finding, name) for name in names.split()}
