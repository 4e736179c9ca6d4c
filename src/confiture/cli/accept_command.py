"""``confiture accept``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve, frozen

from confiture.cli.context import load_plugins, read_settings
from confiture.cli.execute import execute, rehearse_pending
from confiture.cli.flags import Flags, run_options
from confiture.cli.gate_flags import STRICT, GateOptions, lint_files, read_accepted
from confiture.cli.outputs import open_outputs
from confiture.cli.progress import ProgressDisplay
from confiture.cli.rehearsal_flags import RehearsalOptions, add_rehearsal_flags
from confiture.cli.schema_flags import judge_schema
from confiture.config.settings import Settings
from confiture.exceptions import UsageFault
from confiture.gate import ACCEPTED_FILE as FILE
from confiture.gate.accepted import (
    AcceptedChange,
    AcceptedFinding,
    compare_accepted,
    format_accepted,
    select_acceptable,
)
from confiture.models.report import Report, Verdict
from confiture.rules.parse_files import show_path
from confiture.units import format_count

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@click.command("accept")
@run_options
@add_rehearsal_flags
@click.option("--static", is_flag=True, help="Accept what lint finds; needs no server.")
@click.option("--schema", is_flag=True, help="Accept what lint --schema finds, with --url in a live schema.")
@click.option("--add", is_flag=True, help="Allow new findings in the file.")
@click.option("--prune", is_flag=True, help="Remove findings that no longer occur.")
@STRICT
def command(
    flags: Flags,
    rehearsal_options: RehearsalOptions,
    static: bool,
    schema: bool,
    add: bool,
    prune: bool,
    strict: bool,
) -> int:
    """Accept current findings so that they no longer fail the gate."""
    wanted = AcceptOptions(static, add, prune, schema)
    gating = GateOptions(strict=strict, ignores_accepted=True)
    if static and schema:
        raise click.UsageError("--static and --schema accept different findings: give one of them")
    if static or schema:
        rehearsal_options.check(rehearses=False)
        return _accept_from_lint(flags, wanted, gating)
    work = partial(_rehearse_and_accept, flags, rehearsal_options, gating, wanted)
    return execute(flags, "dry-run", work, check=partial(rehearsal_options.check, rehearses=True))


def _accept_from_lint(flags: Flags, options: AcceptOptions, gate_options: GateOptions) -> int:
    lint = partial(judge_schema, flags=flags) if options.schema else lint_files
    with open_outputs(flags) as out:
        settings = read_settings(flags)
        with load_plugins(settings, flags) as plugins:
            report = lint(settings, plugins, gate_options)
            if report.outcome == "ok":
                report = accept_findings(settings, report, options, schema_rules=_list_schema_rules(plugins))
        out.write("report", report)
    return report.exit_code


def _list_schema_rules(plugins: tuple[LoadedPlugin, ...]) -> frozenset[str]:
    from confiture.rules.registry import collect_rules

    return frozenset(rule.id for rule in collect_rules(plugins) if rule.judges_schema)


def _rehearse_and_accept(
    flags: Flags,
    rehearsal_options: RehearsalOptions,
    gate_options: GateOptions,
    options: AcceptOptions,
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
) -> Report:
    report = rehearse_pending(
        settings,
        plugins,
        progress,
        to=flags.to,
        rehearsal_options=rehearsal_options,
        gate_options=gate_options,
    )
    if report.outcome != "ok":
        return report
    read = lint_files(settings, plugins, gate_options) if options.prune else None
    return accept_findings(settings, report, options, read, schema_rules=_list_schema_rules(plugins))


@frozen
class AcceptOptions:
    """The options of ``accept``.

    Attributes:
        static: True to accept the findings of lint, without a rehearsal.
        add: True if the file may grow.
        prune: True to remove findings that no longer occur.
        schema: True to accept the findings of ``lint --schema``.
    """

    static: bool = False
    add: bool = False
    prune: bool = False
    schema: bool = False


def accept_findings(
    settings: Settings,
    report: Report,
    options: AcceptOptions,
    lint_report: Report | None = None,
    *,
    schema_rules: Collection[str] = (),
) -> Report:
    """Write the file of accepted findings; return the report with these marked as ignored, and a verdict.

    Args:
        settings: The settings; the file is in the configuration's folder.
        report: The report of a successful rehearsal or of lint, judged without the accepted findings.
        options: The options of ``accept``.
        lint_report: With a rehearsal, the report of lint: pruning keeps what lint still finds.
        schema_rules: The rules that only ``lint --schema`` applies.

    Raises:
        UsageFault: The file cannot be written.
    """
    path = settings.root / FILE
    before, grows = read_accepted(settings), options.add or not path.exists()
    still = {finding.fingerprint for finding in lint_report.findings} if lint_report else frozenset[str]()
    # Only `lint --schema` can tell whether a finding about the schema is gone, and it can tell of no other.
    candidates = [entry for entry in before if (entry.rule in schema_rules) == options.schema]
    seen = candidates if options.schema else _list_examined(candidates, settings, report, options)
    examined = [entry for entry in seen if entry.fingerprint not in still]
    change = compare_accepted(before, select_acceptable(report.findings), examined)
    after = {*(change.kept if options.prune else before), *(change.new if grows else ())}
    if after != {*before}:
        _write(path, format_accepted(after))
    return _complete_report(report, change, {entry.fingerprint for entry in after}, options, grows=grows)


def _list_examined(
    accepted: Collection[AcceptedFinding], settings: Settings, report: Report, options: AcceptOptions
) -> Iterator[AcceptedFinding]:
    """Yield the accepted findings that this run would have found if they still existed."""
    rehearsed = {
        show_path(Path(migration.file), settings.root)
        for migration in report.migrations
        if migration.file and migration.outcome == "rehearsed"
    }
    for entry in accepted:
        seen = entry.basis == "static" if options.static else entry.file in rehearsed
        # A finding in a deleted file cannot occur again.
        if seen or not (settings.root / entry.file).exists():
            yield entry


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageFault(f"{path.name} cannot be written: {error.strerror}") from None


def _complete_report(
    report: Report, change: AcceptedChange, after: Collection[str], options: AcceptOptions, *, grows: bool
) -> Report:
    findings = tuple(
        evolve(finding, ignored=True) if finding.fingerprint in after and not finding.ignored else finding
        for finding in report.findings
    )
    refused = bool(change.new) and not grows
    notes = list(report.notes)
    if change.gone:
        gone = f"{format_count(len(change.gone), 'finding')} of {FILE} no longer found"
        notes.append(
            f"{gone}: removed" if options.prune else f"{gone}: remove them with confiture accept --prune"
        )
    return evolve(
        report,
        findings=findings,
        notes=tuple(notes),
        exit_code=1 if refused else 0,
        verdict=_build_refusal(change)
        if refused
        else Verdict(True, _describe_outcome(change, after, grows=grows)),
    )


def _build_refusal(change: AcceptedChange) -> Verdict:
    found = format_count(len(change.new), "finding")
    return Verdict(
        False,
        f"{found} not accepted: {FILE} may only shrink",
        "fix the findings, or accept them too: confiture accept --add",
    )


def _describe_outcome(change: AcceptedChange, after: Collection[str], *, grows: bool) -> str:
    if grows and change.new:
        return f"accepted {format_count(len(change.new), 'finding')} ({len(after)} in {FILE})"
    return f"nothing new to accept ({len(after)} in {FILE})" if after else "nothing to accept"
