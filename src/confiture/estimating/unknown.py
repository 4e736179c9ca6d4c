"""Why something is not known, and the step that would make it known."""

from __future__ import annotations

import math

from attrs import frozen


@frozen
class Unknown:
    """No estimate.

    Attributes:
        reason: Why.
        advice: What would make it known.
    """

    reason: str
    advice: str


def too_few(name: str, here: float, needed: float) -> Unknown:
    """Too few rows to measure anything that grows with them."""
    return Unknown(
        f"{name} has {here:,.0f} rows here, too few to tell how it grows", _rehearse_on(name, here, needed)
    )


def too_far(name: str, here: float, there: float, needed: float) -> Unknown:
    """Production is too many times larger."""
    times = "it is empty here" if not here else f"{there / here:,.0f} times those here"
    return Unknown(f"{name} has {there:,.0f} rows in production, {times}", _rehearse_on(name, here, needed))


def too_quick(name: str, here: float, ms: float, needed_ms: float) -> Unknown:
    """It took too little to be measured."""
    return Unknown(
        f"it took {ms:.1f} ms here, too little to tell how it grows",
        _rehearse_on(name, here, 1.5 * here * needed_ms / ms),
    )


def _rehearse_on(name: str, here: float, needed: float) -> str:
    return f"rehearse on at least {_rounded_up(needed):,} rows of {name}; this database has {here:,.0f}"


def _rounded_up(rows: float) -> int:
    """Return a round number that is no less."""
    unit: int = 10 ** max(math.floor(math.log10(max(rows, 1))) - 1, 0)
    return math.ceil(rows / unit) * unit
