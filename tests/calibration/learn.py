"""Write what the timings teach into the package: ``python -m tests.calibration.learn``."""

from __future__ import annotations

import json
from pathlib import Path

from confiture import estimate
from confiture.estimate.error_law import compute_weighted_quantiles
from confiture.estimate.fit import fit
from confiture.estimate.prior import CatalogBound, Prior, to_json
from tests.calibration.timings import DESIGNS, Cases, both, catalog_pairs, predictions

PRIOR = Path(estimate.__file__).with_name("prior.json")
_SURE = 0.99


def learn(cases: Cases) -> Prior:
    """Return all that these cases teach."""
    residuals = [prediction.residual for design in DESIGNS for prediction in predictions(cases, design)]
    return Prior(fit(residuals), learn_catalog(cases))


def learn_catalog(cases: Cases) -> CatalogBound:
    """Return the bound that all but one in a hundred catalog-only statements kept."""
    several = catalog_pairs(cases).values()
    pairs = [(rehearsed, true, 1 / len(pairs)) for pairs in several for rehearsed, true in pairs]
    (times,) = compute_weighted_quantiles(
        [(true / rehearsed, weight) for rehearsed, true, weight in pairs], (_SURE,)
    )
    (least_ms,) = compute_weighted_quantiles([(true, weight) for _, true, weight in pairs], (_SURE,))
    return CatalogBound(times, least_ms)


def text(prior: Prior) -> str:
    """Return a prior as the package keeps it."""
    return json.dumps(_rounded(to_json(prior)), indent=1) + "\n"


def _rounded(value: object) -> object:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value


if __name__ == "__main__":
    PRIOR.write_text(text(learn(both())))
