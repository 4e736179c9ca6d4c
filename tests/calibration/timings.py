"""Timed migrations as a table: what a rehearsal of each would have known, and what came true."""

from __future__ import annotations

import csv
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from attrs import evolve, frozen

from confiture.estimate.curve import Point, fit_curve
from confiture.estimate.fit import Residual
from confiture.estimate.prior import Regime

HERE = Path(__file__).parents[1] / "data" / "timings"
FILE = HERE / "timings.csv"
OTHER = HERE / "embedded.csv"
"""Another machine's; what is shipped is learned from both."""
SHARED_BUFFERS_PAGES = int(os.environ.get("SHARED_BUFFERS_PAGES", "16384"))
TIMES = (10, 30, 100)
DESIGNS = ((3, 2), (3, 3), (3, 1), (1, 2), (1, 3), (1, 1))
"""Ways to rehearse: runs at each size, and sizes; what a rehearsal that sees to it itself does comes first."""
FEWEST_ROWS = 10_000
FEWEST_MS = 10.0
FARTHEST = 101
CATALOG = "catalog"

Cases = Mapping[str, "Case"]


@frozen
class Case:
    """One migration on tables of several sizes.

    Attributes:
        kind: Its class.
        ms: Its runs, by rows.
        pages: Of the table, by rows.
    """

    name: str
    kind: str
    ms: Mapping[int, Sequence[float]]
    pages: Mapping[int, int]

    @property
    def sizes(self) -> list[int]:
        """The rows it was timed with, ascending."""
        return sorted(self.ms)


@frozen
class Prediction:
    """One that could have been made, with what came true.

    Attributes:
        residual: Of the curve, with case, class and regime.
        rows: The largest rehearsed.
        target: The predicted.
    """

    residual: Residual
    rows: int
    target: int

    @property
    def nominal(self) -> int | None:
        """Which of ``TIMES`` this is, ``None`` for another."""
        return next((times for times in TIMES if 0.9 < self.target / self.rows / times < 1.15), None)


def read_cases(file: Path) -> dict[str, Case]:
    """Return the cases of a file."""
    ms: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    pages: dict[str, dict[int, int]] = defaultdict(dict)
    kinds = {}
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            case, rows = line["case"], int(line["rows"])
            ms[case][rows].append(float(line["adj_s"]) * 1000)
            kinds[case], pages[case][rows] = line["class"], int(line["pages"])
    return {case: Case(case, kinds[case], ms[case], pages[case]) for case in ms}


def read_both() -> dict[str, Case]:
    """Return the cases of both machines."""
    return {**read_cases(FILE), **read_cases(OTHER)}


def predict_all(cases: Cases, design: tuple[int, int]) -> list[Prediction]:
    """Return all predictions that count as answerable, for one way to rehearse."""
    return [
        prediction
        for case in cases.values()
        if case.kind != CATALOG
        for rows in case.sizes
        for target in case.sizes
        if 1 <= target / rows <= FARTHEST and rows >= FEWEST_ROWS
        for prediction in _share_weight(list(_predict(case, design, rows, target)))
    ]


def _predict(case: Case, design: tuple[int, int], rows: int, target: int) -> Iterator[Prediction]:
    runs, sizes = design
    known = [size for size in case.sizes if size <= rows][-sizes:]
    if len(known) < sizes:
        return
    crosses = case.pages[rows] <= SHARED_BUFFERS_PAGES < case.pages[target]
    for first in range(len(case.ms[rows])):
        points = [Point(size, _compute_median(case.ms[size], first, runs)) for size in known]
        if points[-1].ms < FEWEST_MS:
            continue
        expected = fit_curve(points).predict_ms(target)
        for true in _select_other_runs(case.ms[target], first, runs if target == rows else 0):
            residual = Residual(
                case.name, case.kind, Regime(runs, sizes, crosses), target / rows, math.log(true / expected)
            )
            yield Prediction(residual, rows, target)


def _select_other_runs(ms: Sequence[float], first: int, used: int) -> Sequence[float]:
    """Return the runs that a prediction of the same size was not made from."""
    return [*ms[first:], *ms[:first]][used:]


def _compute_median(ms: Sequence[float], first: int, runs: int) -> float:
    """Return the median of so many runs from the first on, and round."""
    return median([*ms[first % len(ms) :], *ms[: first % len(ms)]][:runs])


def _share_weight(same: list[Prediction]) -> list[Prediction]:
    return [
        evolve(prediction, residual=evolve(prediction.residual, weight=1 / len(same))) for prediction in same
    ]


def pair_catalog_times(cases: Cases) -> dict[str, list[tuple[float, float]]]:
    """Return what catalog-only cases took when rehearsed, and at other sizes, by case."""
    return {
        case.name: [
            (rehearsed, true)
            for rows in case.sizes
            for rehearsed in case.ms[rows]
            for target in case.sizes
            if target >= 10 * rows
            for true in case.ms[target]
        ]
        for case in cases.values()
        if case.kind == CATALOG
    }
