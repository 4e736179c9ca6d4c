"""``confiture accept``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve, frozen

from confiture.cli.context import loaded, settings_of
from confiture.cli.execute import execute, rehearsed
from confiture.cli.flags import Flags, executing
from confiture.cli.gate_flags import STRICT, Gating, accepted_in, linted
from confiture.cli.outputs import outputs
from confiture.cli.progress import Progress
from confiture.cli.rehearsal_flags import Rehearsing, with_rehearsing
from confiture.config.settings import Settings
from confiture.exceptions import UsageFault
from confiture.gate import ACCEPTED_FILE as FILE
from confiture.gate.accepted import Accepted, Change, changed, of_findings, written
from confiture.models.report import Report, Verdict
from confiture.rules.lint import shown

if TYPE_CHECKING:
    from confiture.plugins.load import Loaded


@click.command("accept")
@executing
@with_rehearsing
@click.option("--static", is_flag=True, help="What lint finds; needs no server.")
@click.option("--add", is_flag=True, help="Let the file grow.")
@click.option("--prune", is_flag=True, help="Drop what is no longer found.")
@STRICT
def command(flags: Flags, rehearsing: Rehearsing, static: bool, add: bool, prune: bool, strict: bool) -> int:
    """Accept the findings there are: they fail the gate no more."""
    rehearsing.check(rehearses=not static)
    wanted, gating = Wanted(static, add, prune), Gating(strict=strict, afresh=True)
    if static:
        return _from_files(flags, wanted, gating)
    return execute(flags, "dry-run", partial(_work, flags, rehearsing, gating, wanted))


def _from_files(flags: Flags, wanted: Wanted, gating: Gating) -> int:
    with outputs(flags) as out:
        settings = settings_of(flags)
        with loaded(settings, flags) as plugins:
            report = accepted(settings, linted(settings, plugins, gating), wanted)
        out.write("report", report)
    return report.exit_code


def _work(
    flags: Flags,
    rehearsing: Rehearsing,
    gating: Gating,
    wanted: Wanted,
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
) -> Report:
    report = rehearsed(settings, plugins, tell, to=flags.to, rehearsing=rehearsing, gating=gating)
    if report.outcome != "ok":
        return report
    read = linted(settings, plugins, gating) if wanted.prune else None
    return accepted(settings, report, wanted, read)


@frozen
class Wanted:
    """What the flags say.

    Attributes:
        static: Findings of the files' text alone.
        add: Whether the file may grow.
        prune: Whether it is to shrink.
    """

    static: bool = False
    add: bool = False
    prune: bool = False


def accepted(settings: Settings, report: Report, wanted: Wanted, read: Report | None = None) -> Report:
    """Write the accepted findings, and return the report with these marked and a word of what was done.

    Args:
        settings: Where the file lies.
        report: Of a rehearsal that went well, or of files that were read; nothing accepted in it yet.
        wanted: What the flags say.
        read: Beside a rehearsal: what the files' text alone tells, which is still there too.

    Raises:
        UsageFault: The file cannot be written.
    """
    path = settings.root / FILE
    before, grows = accepted_in(settings), wanted.add or not path.exists()
    still = {each.fingerprint for each in read.findings} if read else frozenset[str]()
    looked_at = [
        each for each in _looked_at(before, settings, report, wanted) if each.fingerprint not in still
    ]
    change = changed(before, of_findings(report.findings), looked_at)
    after = {*(change.kept if wanted.prune else before), *(change.new if grows else ())}
    if after != {*before}:
        _write(path, written(after))
    return _told(report, change, {each.fingerprint for each in after}, wanted, grows=grows)


def _looked_at(
    before: Collection[Accepted], settings: Settings, report: Report, wanted: Wanted
) -> Iterator[Accepted]:
    """Yield what would have been found if it were still there."""
    rehearsed = {
        shown(Path(each.file), settings.root)
        for each in report.migrations
        if each.file and each.outcome == "rehearsed"
    }
    for each in before:
        seen = each.basis == "static" if wanted.static else each.file in rehearsed
        if seen or not (settings.root / each.file).exists():
            yield each


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageFault(f"{path.name} cannot be written: {error.strerror}") from None


def _told(report: Report, change: Change, after: Collection[str], wanted: Wanted, *, grows: bool) -> Report:
    findings = tuple(
        evolve(each, ignored=True) if each.fingerprint in after and not each.ignored else each
        for each in report.findings
    )
    refused = bool(change.new) and not grows
    notes = list(report.notes)
    if change.gone:
        gone = f"{_counted(len(change.gone))} of {FILE} no longer found"
        notes.append(f"{gone}: dropped" if wanted.prune else f"{gone}: confiture accept --prune drops them")
    return evolve(
        report,
        findings=findings,
        notes=tuple(notes),
        exit_code=1 if refused else 0,
        verdict=_refused(change) if refused else Verdict(True, _done(change, after, grows=grows)),
    )


def _refused(change: Change) -> Verdict:
    found = _counted(len(change.new))
    return Verdict(
        False,
        f"{found} not accepted: {FILE} may only shrink",
        "mend them; or let it grow: confiture accept --add",
    )


def _done(change: Change, after: Collection[str], *, grows: bool) -> str:
    if grows and change.new:
        return f"accepted {_counted(len(change.new))}: {FILE} holds {len(after)}"
    return f"nothing new to accept: {FILE} holds {len(after)}" if after else "nothing to accept"


def _counted(count: int) -> str:
    return f"{count} finding{'s' * (count != 1)}"
