"""What earlier timings teach: by how much curves miss, for each kind of statement and each regime."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from attrs import asdict, frozen

from confiture.estimate.error_law import Law

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
class Kind:
    """How statements of one class differ from the rest.

    Attributes:
        offset: Added to the logarithm of true over predicted.
        spread: What its errors are multiplied with.
    """

    offset: float
    spread: float


@frozen
class Group:
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
    kinds: Mapping[str, Kind]
    other: Kind
    growth: float
    quantiles: tuple[float, ...] = ()
    near: tuple[float, ...] = ()

    def law(self, kind: str, times: float) -> Law:
        """Return the law of a statement of this class predicted for ``times`` the rehearsed rows.

        Nothing is surer than a repetition at the same size.
        """
        far = self._far(self.kinds.get(kind, self.other), max(times, FULL_DISTANCE))
        part = distance(times) if self.near else 1.0
        near = self.near or far
        return Law(tuple(part * a + (1 - part) * b for a, b in zip(far, near, strict=True)))

    def _far(self, kind: Kind, times: float) -> tuple[float, ...]:
        scale = kind.spread * stretch(self.growth, times)
        law = Law(tuple(kind.offset + scale * value for value in self.quantiles))
        return law.no_surer_than(Law(self.near)).quantiles if self.near else law.quantiles


@frozen
class Catalog:
    """What statements take that only change the catalog.

    Attributes:
        times: The bound is this many times what was rehearsed,
        least_ms: and at least this.
    """

    times: float
    least_ms: float

    def bound_ms(self, ms: float) -> float:
        """Return what such a statement takes at most."""
        return max(self.times * ms, self.least_ms)


@frozen
class Own:
    """What one's own runs add.

    Attributes:
        shift: Of the logarithm of true over predicted.
        spread: What the law's width is multiplied with.
        cases: How many migrations it comes from.
    """

    shift: float = 0.0
    spread: float = 1.0
    cases: int = 0

    def corrected(self, law: Law) -> Law:
        """Return the law as one's own runs have it."""
        middle = law.median
        return Law(tuple(middle + self.shift + self.spread * (value - middle) for value in law.quantiles))


@frozen
class Prior:
    """All that is known before a prediction: what is shipped, and one's own runs."""

    groups: Mapping[Regime, Group]
    catalog: Catalog
    own: Own = Own()

    def law(self, kind: str, regime: Regime, times: float) -> Law | None:
        """Return the law of such a prediction; ``None`` where no timings are like it."""
        group = self.groups.get(regime)
        return self.own.corrected(group.law(kind, times)) if group else None


def distance(times: float) -> float:
    """Return how much an extrapolation counts as one: none at the same size, all from ten times on."""
    return min(1.0, abs(math.log(times)) / math.log(FULL_DISTANCE))


def stretch(growth: float, times: float) -> float:
    """Return how much wider errors are after extrapolating to ``times`` the size."""
    return math.hypot(1.0, growth * math.log(max(times, 1.0)))


def to_json(prior: Prior) -> dict[str, Any]:
    """Return a prior as it is kept in a file."""
    groups = [{**asdict(regime), **asdict(prior.groups[regime])} for regime in sorted(prior.groups)]
    return {"catalog": asdict(prior.catalog), "groups": groups}


def from_json(kept: Mapping[str, Any]) -> Prior:
    """Return the prior that a file keeps."""
    return Prior({_regime(each): _group(each) for each in kept["groups"]}, Catalog(**kept["catalog"]))


def _regime(kept: Mapping[str, Any]) -> Regime:
    return Regime(kept["runs"], kept["sizes"], kept["crosses"])


def _group(kept: Mapping[str, Any]) -> Group:
    kinds = {name: Kind(**kind) for name, kind in kept["kinds"].items()}
    other = Kind(**kept["other"])
    return Group(kept["cases"], kinds, other, kept["growth"], tuple(kept["quantiles"]), tuple(kept["near"]))


@cache
def shipped() -> Prior:
    """Return the prior that comes with the package."""
    return from_json(json.loads(files("confiture.estimate").joinpath("prior.json").read_text()))
