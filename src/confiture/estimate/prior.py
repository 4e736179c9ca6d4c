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

from confiture.estimate.error_law import ErrorLaw

FULL_DISTANCE = 10.0
"""From this many times the rehearsed rows on, the error of extrapolation counts in full."""


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
class WorkClassShift:
    """The systematic and the typical error of one class of statements.

    Attributes:
        offset: The mean of ``ln(true / predicted)``: -0.2 means that predictions are about 18 % too high.
        spread: The mean absolute deviation from it; the factor for ``RegimeGroup.quantiles``.
    """

    offset: float
    spread: float


@frozen
class RegimeGroup:
    """The errors of one regime.

    Attributes:
        cases: How many different migrations they were learned from.
        kinds: The shift of each class that was timed.
        other: The shift of every other class.
        growth: How errors grow with the distance, see ``compute_stretch``.
        quantiles: Quantiles of the standardized errors, one for each of ``SHARES``: without the class's
            offset, divided by its spread and by the growth.
        near: Quantiles of ``ln(true / predicted)`` for a repetition at the same size; empty if none was
            timed.
    """

    cases: int
    kinds: Mapping[str, WorkClassShift]
    other: WorkClassShift
    growth: float
    quantiles: tuple[float, ...] = ()
    near: tuple[float, ...] = ()

    def find_law(self, kind: str, times: float) -> ErrorLaw:
        """Return the error law of a statement of this class, predicted for ``times`` the rehearsed rows.

        At the same size it is the law of a repetition, from ten times on that of an extrapolation; in
        between the quantiles are mixed by ``compute_distance``. No extrapolation is more certain than a
        repetition at the same size.
        """
        far = self._compute_far_quantiles(self.kinds.get(kind, self.other), max(times, FULL_DISTANCE))
        far_share = compute_distance(times) if self.near else 1.0
        near = self.near or far
        return ErrorLaw(
            tuple(
                far_share * far_value + (1 - far_share) * near_value
                for far_value, near_value in zip(far, near, strict=True)
            )
        )

    def _compute_far_quantiles(self, kind: WorkClassShift, times: float) -> tuple[float, ...]:
        scale = kind.spread * compute_stretch(self.growth, times)
        law = ErrorLaw(tuple(kind.offset + scale * value for value in self.quantiles))
        return law.widen_to(ErrorLaw(self.near)).quantiles if self.near else law.quantiles


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

    def correct(self, law: ErrorLaw) -> ErrorLaw:
        """Return the law shifted and stretched by the user's real runs."""
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
    """

    groups: Mapping[Regime, RegimeGroup]
    catalog: CatalogBound
    own: OwnHistory = OwnHistory()

    def find_law(self, kind: str, regime: Regime, times: float) -> ErrorLaw | None:
        """Return the error law of such a prediction; ``None`` if its regime was never timed."""
        group = self.groups.get(regime)
        return self.own.correct(group.find_law(kind, times)) if group else None


def compute_distance(times: float) -> float:
    """Return the share of the extrapolation error that counts: 0 at the same size, 1 from ten times on.

    ``ln(times) / ln(10)``, the same for smaller sizes.
    """
    return min(1.0, abs(math.log(times)) / math.log(FULL_DISTANCE))


def compute_stretch(growth: float, times: float) -> float:
    """Return how much wider errors are at ``times`` the size: ``√(1 + (growth · ln times)²)``.

    The errors of the measurement and of the extrapolation are independent, so their squares add up.
    """
    return math.hypot(1.0, growth * math.log(max(times, 1.0)))


def to_json(prior: Prior) -> dict[str, Any]:
    """Return a prior as the document of ``prior.json``."""
    groups = [{**asdict(regime), **asdict(prior.groups[regime])} for regime in sorted(prior.groups)]
    return {"catalog": asdict(prior.catalog), "groups": groups}


def from_json(document: Mapping[str, Any]) -> Prior:
    """Return the prior of a document that ``to_json`` made."""
    return Prior(
        {_build_regime(group): _build_group(group) for group in document["groups"]},
        CatalogBound(**document["catalog"]),
    )


def _build_regime(document: Mapping[str, Any]) -> Regime:
    return Regime(document["runs"], document["sizes"], document["crosses"])


def _build_group(document: Mapping[str, Any]) -> RegimeGroup:
    kinds = {name: WorkClassShift(**kind) for name, kind in document["kinds"].items()}
    other = WorkClassShift(**document["other"])
    return RegimeGroup(
        document["cases"],
        kinds,
        other,
        document["growth"],
        tuple(document["quantiles"]),
        tuple(document["near"]),
    )


@cache
def load_shipped() -> Prior:
    """Return the prior that comes with the package."""
    return from_json(json.loads(files("confiture.estimate").joinpath("prior.json").read_text()))
