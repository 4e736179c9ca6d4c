"""The error of extrapolated times, learned from earlier timings, by class of statement and by regime.

An error is always ``ln(true / predicted)``. ``prior.json`` holds what the shipped timings of two machines
teach; ``python -m tests.calibration.learn`` writes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from attrs import asdict, frozen

from confiture.estimate.curve import PLAIN_FORM, CurveForm
from confiture.estimate.error_law import ErrorLaw

FULL_DISTANCE = 10.0
"""From this many times the rehearsed rows on, the error of extrapolation counts in full."""

PRIOR_CASES = 10.0
"""The shipped prior counts as this many of the user's migrations."""


@frozen(order=True)
class Regime:
    """The circumstances that decide how large the error of a curve can be.

    Attributes:
        runs: Rehearsals per size: one, or three whose median is used.
        sizes: Number of rehearsed sizes: one, two or three.
        crosses: True if the table fits into shared buffers at the rehearsed size, but not in production.
            Measured, this widens the 90 % interval from ×/÷ 1.46 to ×/÷ 1.65.
    """

    runs: int
    sizes: int
    crosses: bool


@frozen
class Stretch:
    """How much wider errors are for distant sizes and for statements that took little time.

    Attributes:
        growth: How errors grow with the distance.
        brevity: How errors shrink as the rehearsed time grows: clocks, caches and other processes disturb a
            statement of 2 ms by a larger share than one of 100 ms.
    """

    growth: float
    brevity: float

    def compute(self, times: float, ms: float) -> float:
        """Return the factor at ``times`` the rehearsed rows, for a statement rehearsed in ``ms``.

        ``√(1 + (growth · ln times)²) · (100 / ms)^brevity``, where times from 100 ms on count as 100. The
        errors of the measurement and of the extrapolation are independent, so their squares add up.
        """
        distance = math.hypot(1.0, self.growth * math.log(max(times, 1.0)))
        shortness = _LONG_MS / min(max(ms, _SHORTEST_MS), _LONG_MS)
        return distance * math.pow(shortness, self.brevity)


# From this time on errors do not shrink any more; below the other nothing was timed often enough.
_LONG_MS = 100.0
_SHORTEST_MS = 1.0


@frozen
class RegimeGroup:
    """The errors of one regime.

    Attributes:
        cases: How many different migrations they were learned from.
        spreads: The mean absolute error of each class that was timed; the factor for ``quantiles``.
        other_spread: The same for every other class.
        stretch: How errors grow with the distance and for short times.
        quantiles: Quantiles of the standardized errors, one for each of ``SHARES``: divided by the class's
            spread and by the stretch.
        near: Quantiles of ``ln(true / predicted)`` for a repetition at the same size, divided by the
            stretch; empty if none was timed.
    """

    cases: int
    spreads: Mapping[str, float]
    other_spread: float
    stretch: Stretch
    quantiles: tuple[float, ...] = ()
    near: tuple[float, ...] = ()

    def find_law(self, kind: str, times: float, ms: float) -> ErrorLaw:
        """Return the error law of a statement, predicted for ``times`` the rehearsed rows.

        At the same size it is the law of a repetition, from ten times on that of an extrapolation; in
        between the quantiles are mixed by ``compute_distance``. No extrapolation is more certain than a
        repetition at the same size.

        Args:
            kind: Class of the statement.
            times: Predicted rows divided by the largest rehearsed rows.
            ms: The rehearsed time at the largest size, in milliseconds.
        """
        repeated = self.stretch.compute(1.0, ms)
        near = tuple(repeated * value for value in self.near)
        far = self._compute_far_quantiles(kind, max(times, FULL_DISTANCE), ms, near)
        far_share = compute_distance(times) if near else 1.0
        return ErrorLaw(
            tuple(
                far_share * far_value + (1 - far_share) * near_value
                for far_value, near_value in zip(far, near or far, strict=True)
            )
        )

    def _compute_far_quantiles(
        self, kind: str, times: float, ms: float, near: tuple[float, ...]
    ) -> tuple[float, ...]:
        scale = self.spreads.get(kind, self.other_spread) * self.stretch.compute(times, ms)
        law = ErrorLaw(tuple(scale * value for value in self.quantiles))
        return law.widen_to(ErrorLaw(near)).quantiles if near else law.quantiles


@frozen
class CatalogBound:
    """The upper bound for statements that only change the catalog; all but 1 in 100 timed ones kept it.

    Attributes:
        times: The bound as a multiple of the rehearsed time.
        least_ms: The smallest bound, in milliseconds.
    """

    times: float
    least_ms: float

    def compute_bound_ms(self, ms: float) -> float:
        """Return the upper bound for a rehearsed time, both in milliseconds."""
        return max(self.times * ms, self.least_ms)


@frozen
class OwnHistory:
    """The correction that the user's real runs make to the shipped errors.

    Attributes:
        shift: Added to ``ln(true / predicted)``; 0.1 if real runs take about 10 % longer.
        spread: The factor for the width of the error law; below 1 narrows the intervals.
        cases: How many migrations it was learned from.
    """

    shift: float = 0.0
    spread: float = 1.0
    cases: int = 0

    def correct(self, law: ErrorLaw, machine_spread: float) -> ErrorLaw:
        """Return the law shifted and stretched by the user's real runs.

        Until there are any, it also carries the difference between machines: the shipped timings are of
        others than the user's.
        """
        law = law.widen(machine_spread * math.sqrt(PRIOR_CASES / (PRIOR_CASES + self.cases)))
        middle = law.median
        return ErrorLaw(
            tuple(middle + self.shift + self.spread * (value - middle) for value in law.quantiles)
        )


@frozen
class Prior:
    """The knowledge that predictions start from.

    Attributes:
        groups: The shipped errors, by regime.
        catalog: The shipped bound for catalog changes.
        own: The correction by the user's real runs.
        form: The form of the curves that the errors are of.
        machine_spread: The standard deviation of ``ln(true / predicted)`` between machines.
    """

    groups: Mapping[Regime, RegimeGroup]
    catalog: CatalogBound
    own: OwnHistory = OwnHistory()
    form: CurveForm = PLAIN_FORM
    machine_spread: float = 0.0

    def find_law(self, kind: str, regime: Regime, times: float, ms: float) -> ErrorLaw | None:
        """Return the error law of such a prediction; ``None`` if its regime was never timed."""
        group = self.groups.get(regime)
        return self.own.correct(group.find_law(kind, times, ms), self.machine_spread) if group else None


def compute_distance(times: float) -> float:
    """Return the share of the extrapolation error that counts: 0 at the same size, 1 from ten times on.

    ``ln(times) / ln(10)``, the same for smaller sizes.
    """
    return min(1.0, abs(math.log(times)) / math.log(FULL_DISTANCE))


def to_json(prior: Prior) -> dict[str, Any]:
    """Return a prior as the document of ``prior.json``."""
    groups = [{**asdict(regime), **asdict(prior.groups[regime])} for regime in sorted(prior.groups)]
    return {
        "catalog": asdict(prior.catalog),
        "form": asdict(prior.form),
        "machine_spread": prior.machine_spread,
        "groups": groups,
    }


def from_json(document: Mapping[str, Any]) -> Prior:
    """Return the prior of a document that ``to_json`` made."""
    return Prior(
        {_build_regime(group): _build_group(group) for group in document["groups"]},
        CatalogBound(**document["catalog"]),
        form=CurveForm(**document["form"]),
        machine_spread=document["machine_spread"],
    )


def _build_regime(document: Mapping[str, Any]) -> Regime:
    return Regime(document["runs"], document["sizes"], document["crosses"])


def _build_group(document: Mapping[str, Any]) -> RegimeGroup:
    return RegimeGroup(
        document["cases"],
        document["spreads"],
        document["other_spread"],
        Stretch(**document["stretch"]),
        tuple(document["quantiles"]),
        tuple(document["near"]),
    )


@cache
def load_shipped() -> Prior:
    """Return the prior that comes with the package."""
    return from_json(json.loads(files("confiture.estimate").joinpath("prior.json").read_text()))
