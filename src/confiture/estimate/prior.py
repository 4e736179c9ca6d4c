"""What earlier timings teach: by how much curves miss, for each kind of statement and each regime."""

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
"""From this many times the rehearsed rows on, what is known of extrapolations holds in full."""


@frozen(order=True)
class Regime:
    """What decides how far off a curve may be.

    Attributes:
        runs: At each size: one, or three and their median taken.
        sizes: Rehearsed: one, two or three.
        crosses: Something that fitted into memory at the rehearsed size does not at the predicted one.
    """

    runs: int
    sizes: int
    crosses: bool


@frozen
class WorkClassShift:
    """How statements of one class differ from the rest.

    Attributes:
        offset: Added to the logarithm of true over predicted.
        spread: What its errors are multiplied with.
    """

    offset: float
    spread: float


@frozen
class RegimeGroup:
    """What one regime's residuals say.

    Attributes:
        cases: How many different migrations they come from.
        kinds: By class.
        other: Any other class.
        growth: How errors grow with the logarithm of the extrapolation, relative to the rest of them.
        quantiles: Of the residuals, all differences between classes, regimes and growths taken out.
        near: Those of repetitions at the same size; none where nothing was repeated.
    """

    cases: int
    kinds: Mapping[str, WorkClassShift]
    other: WorkClassShift
    growth: float
    quantiles: tuple[float, ...] = ()
    near: tuple[float, ...] = ()

    def find_law(self, kind: str, times: float) -> ErrorLaw:
        """Return the law of a statement of this class predicted for ``times`` the rehearsed rows.

        Nothing is surer than a repetition at the same size.
        """
        far = self._compute_far_quantiles(self.kinds.get(kind, self.other), max(times, FULL_DISTANCE))
        part = compute_distance(times) if self.near else 1.0
        near = self.near or far
        return ErrorLaw(tuple(part * a + (1 - part) * b for a, b in zip(far, near, strict=True)))

    def _compute_far_quantiles(self, kind: WorkClassShift, times: float) -> tuple[float, ...]:
        scale = kind.spread * compute_stretch(self.growth, times)
        law = ErrorLaw(tuple(kind.offset + scale * value for value in self.quantiles))
        return law.widen_to(ErrorLaw(self.near)).quantiles if self.near else law.quantiles


@frozen
class CatalogBound:
    """What statements take that only change the catalog.

    Attributes:
        times: The bound is this many times what was rehearsed,
        least_ms: and at least this.
    """

    times: float
    least_ms: float

    def compute_bound_ms(self, ms: float) -> float:
        """Return what such a statement takes at most."""
        return max(self.times * ms, self.least_ms)


@frozen
class OwnHistory:
    """What one's own runs add.

    Attributes:
        shift: Of the logarithm of true over predicted.
        spread: What the law's width is multiplied with.
        cases: How many migrations it comes from.
    """

    shift: float = 0.0
    spread: float = 1.0
    cases: int = 0

    def correct(self, law: ErrorLaw) -> ErrorLaw:
        """Return the law as one's own runs have it."""
        middle = law.median
        return ErrorLaw(
            tuple(middle + self.shift + self.spread * (value - middle) for value in law.quantiles)
        )


@frozen
class Prior:
    """All that is known before a prediction: what is shipped, and one's own runs."""

    groups: Mapping[Regime, RegimeGroup]
    catalog: CatalogBound
    own: OwnHistory = OwnHistory()

    def find_law(self, kind: str, regime: Regime, times: float) -> ErrorLaw | None:
        """Return the law of such a prediction; ``None`` where no timings are like it."""
        group = self.groups.get(regime)
        return self.own.correct(group.find_law(kind, times)) if group else None


def compute_distance(times: float) -> float:
    """Return how much an extrapolation counts as one: none at the same size, all from ten times on."""
    return min(1.0, abs(math.log(times)) / math.log(FULL_DISTANCE))


def compute_stretch(growth: float, times: float) -> float:
    """Return how much wider errors are after extrapolating to ``times`` the size."""
    return math.hypot(1.0, growth * math.log(max(times, 1.0)))


def to_json(prior: Prior) -> dict[str, Any]:
    """Return a prior as it is kept in a file."""
    groups = [{**asdict(regime), **asdict(prior.groups[regime])} for regime in sorted(prior.groups)]
    return {"catalog": asdict(prior.catalog), "groups": groups}


def from_json(document: Mapping[str, Any]) -> Prior:
    """Return the prior that a file keeps."""
    return Prior(
        {_build_regime(each): _build_group(each) for each in document["groups"]},
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
