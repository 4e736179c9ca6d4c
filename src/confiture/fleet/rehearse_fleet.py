"""Rehearse a fleet run on a sample of its targets, and estimate how long the whole takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from attrs import evolve

from confiture.config.settings import Settings
from confiture.fleet.ask_targets import ask_targets
from confiture.fleet.choose_sample import SampleChoice, choose_sample, get_kind
from confiture.fleet.compare_targets import compare_shapes
from confiture.fleet.estimate_rollout import estimate_rollout
from confiture.fleet.prepare_fleet import FleetRequest, PreparedFleet, prepare_fleet
from confiture.fleet.rehearse_target import rehearse_target
from confiture.fleet.shape import ShapeTask, read_target
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, close_connections, select_shared_settings
from confiture.gate.judge import build_verdict, select_failures
from confiture.models.fleet_rehearsal import FleetFinding, FleetRehearsal, SampledTarget
from confiture.models.fleet_shape import TargetShape
from confiture.models.report import Estimate, Finding, Report, Verdict
from confiture.plugins.load import LoadedPlugin

JudgeReport = Callable[[Report], Report]


def rehearse_fleet(
    settings: Settings,
    request: FleetRequest,
    plugins: Sequence[LoadedPlugin] = (),
    judge: JudgeReport = lambda report: report,
    say: Callable[[str], None] = lambda _: None,
) -> FleetRehearsal:
    """Read every target, rehearse a sample as many at a time as the run would, and roll all of it back.

    Nothing is recorded, neither in a target nor in the control database.

    Args:
        settings: The settings of the run.
        request: The targets and the policy.
        plugins: The plugins whose hooks and rules take part.
        judge: Applies the gate to the report of one target.
        say: Receives a line for each step.

    Raises:
        UsageFault: The policy can never be met, or two targets are one database.
        ConnectionFault: The scheduler cannot be reached.
    """
    prepared = prepare_fleet(settings, request)
    policy = prepared.request.policy
    targets = {target.name: target for wave in prepared.waves for target in wave}
    shared = select_shared_settings(settings)
    try:
        with request.executor.open(policy.workers, request.scheduler) as pool:
            say(f"reading the targets: {len(targets)}")
            shapes = _read_shapes(pool, prepared, targets.values(), shared)
            choices, left_out = choose_sample(list(shapes.values()))
            say(f"rehearsing some of them: {len(choices)}")
            chosen = [targets[choice.shape.name] for choice in choices]
            reports = _rehearse_targets(pool, prepared, chosen, shared, plugins)
        drift = compare_shapes(shared, targets.values(), tuple(shapes.values()))
    finally:
        close_connections()
    judged = {name: judge(report) for name, report in reports.items()}
    sampled = tuple(_build_sampled(choice, judged, shapes) for choice in choices)
    findings = _merge_findings(sampled)
    verdict = _build_verdict(settings, sampled, findings)
    return FleetRehearsal(
        drift,
        tuple(shapes.values()),
        sampled,
        left_out,
        findings,
        rollout=estimate_rollout(prepared.waves, shapes, sampled, policy),
        workers=policy.workers,
        exit_code=_choose_exit_code(shapes.values(), sampled, verdict),
        verdict=verdict,
    )


def _read_shapes(
    pool: Executor, prepared: PreparedFleet, targets: Iterable[Target], settings: Settings
) -> dict[str, TargetShape]:
    """Return what each target is like, in the order of the targets."""
    listed = list(targets)
    policy = prepared.request.policy
    found = ask_targets(
        pool, policy, listed, read_target, lambda target: ShapeTask(target, settings, prepared.plan)
    )
    by_name = {shape.name: shape for shape in found}
    return {target.name: by_name[target.name] for target in listed}


def _rehearse_targets(
    pool: Executor,
    prepared: PreparedFleet,
    targets: Iterable[Target],
    settings: Settings,
    plugins: Sequence[LoadedPlugin],
) -> dict[str, Report]:
    names = tuple(plugin.name for plugin in plugins)
    return dict(
        ask_targets(
            pool,
            prepared.request.policy,
            targets,
            rehearse_target,
            lambda target: TargetTask(target, settings, prepared.plan, names),
        )
    )


def _build_sampled(
    choice: SampleChoice, reports: dict[str, Report], shapes: dict[str, TargetShape]
) -> SampledTarget:
    kind, report = get_kind(choice.shape), reports[choice.shape.name]
    alike = sum(get_kind(shape) == kind for shape in shapes.values())
    estimate = _add_estimates(report) if report.outcome == "ok" else None
    return SampledTarget(choice.shape, choice.why, alike, report, estimate)


def _add_estimates(report: Report) -> Estimate:
    """Return the estimate of all migrations of a target, as if their errors were fully correlated."""
    estimates = [migration.estimate for migration in report.migrations]
    intervals = []
    for migration, estimate in zip(report.migrations, estimates, strict=True):
        if estimate is None or not estimate.known or estimate.interval90_ms is None:
            reason = estimate.reason if estimate else migration.reason or "it was not rehearsed"
            return Estimate(False, f"{migration.version}: {reason}", estimate.advice if estimate else None)
        intervals.append(estimate.interval90_ms)
    known = [estimate.p50_ms for estimate in estimates if estimate and estimate.p50_ms is not None]
    # Of a change of the catalog only the upper end is known.
    p50_ms = sum(known) if len(known) == len(estimates) else None
    low_ms, high_ms = (sum(ends) for ends in zip(*intervals, strict=True)) if intervals else (0.0, 0.0)
    return Estimate(True, p50_ms=p50_ms, interval90_ms=(low_ms, high_ms))


def _merge_findings(sampled: Sequence[SampledTarget]) -> tuple[FleetFinding, ...]:
    """Return each finding once: its fingerprint is of the statement, and does not depend on the target."""
    found: dict[str, tuple[Finding, list[str]]] = {}
    for sample in sampled:
        for finding in sample.report.findings:
            kept, names = found.setdefault(finding.fingerprint, (finding, []))
            names.append(sample.shape.name)
            # Measured on one target, it may be a warning, and on a larger one an error.
            if _rank(finding) < _rank(kept):
                found[finding.fingerprint] = finding, names
    merged = [FleetFinding(finding, tuple(names)) for finding, names in found.values()]
    return tuple(sorted(merged, key=lambda fleet_finding: _rank(fleet_finding.finding)))


def _rank(finding: Finding) -> tuple[bool, int, str, int]:
    severity = ("error", "warning", "info").index(finding.severity)
    return finding.ignored, severity, finding.file, finding.line or 0


def _build_verdict(
    settings: Settings, sampled: Sequence[SampledTarget], merged: Sequence[FleetFinding]
) -> Verdict | None:
    judged = [sample.report.verdict for sample in sampled if sample.report.verdict]
    if not judged:
        return None
    failed = [verdict for verdict in judged if not verdict.passed]
    findings = [fleet_finding.finding for fleet_finding in merged]
    failing = select_failures(findings, settings.gate.fail_on)
    if not failing:
        return failed[0] if failed else judged[0]
    # Of all targets together: one may have findings that another has not.
    sentence = build_verdict(findings, failing, settings.gate).sentence
    return evolve(failed[0] if failed else judged[0], sentence=sentence)


def _choose_exit_code(
    shapes: Iterable[TargetShape], sampled: Sequence[SampledTarget], verdict: Verdict | None
) -> int:
    codes = {sample.report.exit_code for sample in sampled if sample.report.outcome != "ok"}
    codes |= {shape.exit_code for shape in shapes if shape.fault}
    if codes:
        return next(iter(codes)) if len(codes) == 1 and codes != {1} else 4
    return int(verdict is not None and not verdict.passed)
