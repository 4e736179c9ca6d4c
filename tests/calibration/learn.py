"""Write what the timings teach into the package: ``python -m tests.calibration.learn``."""

from __future__ import annotations

import json
from pathlib import Path

from confiture import estimate
from confiture.estimate.prior import CatalogBound, Prior, to_json
from tests.calibration.curve_form import learn_form
from tests.calibration.fit import fit
from tests.calibration.machine_spread import learn_machine_spread
from tests.calibration.quantiles import compute_weighted_quantiles
from tests.calibration.timings import (
    DESIGNS,
    MACHINES,
    Cases,
    pair_catalog_times,
    predict_all,
    read_all,
    read_machine,
)

PRIOR = Path(estimate.__file__).with_name("prior.json")
_SURE = 0.99
# On other machines less held only three times in four; this held 96 to 100 times in a hundred.
_LEAST_MS = 5.0


def learn_all() -> Prior:
    """Return all that the recorded timings teach."""
    return learn(read_all(), learn_machine_spread({name: read_machine(name) for name in MACHINES}))


def learn(cases: Cases, machine_spread: float) -> Prior:
    """Return all that these cases teach, with a spread between machines that they do not tell apart."""
    form = learn_form(cases)
    residuals = [prediction.residual for design in DESIGNS for prediction in predict_all(cases, design, form)]
    return Prior(fit(residuals), learn_catalog(cases), form=form, machine_spread=machine_spread)


def learn_catalog(cases: Cases) -> CatalogBound:
    """Return the bound that all but one in a hundred catalog-only statements kept."""
    pairs_by_case = pair_catalog_times(cases).values()
    pairs = [(rehearsed, true, 1 / len(pairs)) for pairs in pairs_by_case for rehearsed, true in pairs]
    (times,) = compute_weighted_quantiles(
        [(true / rehearsed, weight) for rehearsed, true, weight in pairs], (_SURE,)
    )
    (least_ms,) = compute_weighted_quantiles([(true, weight) for _, true, weight in pairs], (_SURE,))
    return CatalogBound(times, max(least_ms, _LEAST_MS))


def render_prior(prior: Prior) -> str:
    """Return a prior as the package keeps it."""
    return json.dumps(_round(to_json(prior)), indent=1) + "\n"


def _round(value: object) -> object:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _round(item) for key, item in value.items()}
        case list() | tuple():
            return [_round(item) for item in value]
    return value


if __name__ == "__main__":
    PRIOR.write_text(render_prior(learn_all()))
