"""What the rehearsals of a plan at one size give; without the estimates, which most plans do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.estimate.statistics import Statistics


@frozen
class RehearsalResult:
    """The rehearsals of a plan at one size.

    Attributes:
        report: The report of all repetitions together.
        runs: The report of each repetition.
        here: Statistics of the database before the first repetition; ``None`` if nothing was pending.
    """

    report: Report
    runs: tuple[Report, ...] = ()
    here: Statistics | None = None
