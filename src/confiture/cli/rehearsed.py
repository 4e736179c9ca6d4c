"""Rehearse what is pending and judge it: what ``dry-run``, ``run --gate`` and ``accept`` begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confiture.cli.gating import Gating, gated, rules_judge, scope_of
from confiture.cli.progress import Progress
from confiture.cli.rehearsing import Rehearsing
from confiture.config import Settings
from confiture.exceptions import SourceFault
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.loading import Loaded


def rehearsed(
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
    *,
    to: str | None,
    rehearsing: Rehearsing,
    gating: Gating,
) -> Report:
    """Rehearse what is pending, and return the report with the gate's verdict.

    Raises:
        ConfitureError: Nothing was begun.
    """
    from confiture.core.operations import run

    scope = scope_of(settings, gating)
    try:
        report = run(
            settings,
            to=to,
            plugins=plugins,
            dry_run=True,
            on_progress=tell,
            watcher=tell,
            judge=rules_judge(settings, plugins, strict=gating.strict),
            **rehearsing.options,
        )
    except SourceFault:
        if not gating.allow_empty:
            raise
        report = Report("dry-run", "ok", 0)
    return gated(settings, report, gating, scope)
