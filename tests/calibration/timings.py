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

from confiture.estimate.curve import CurveForm, Point, fit_curve
from confiture.estimate.index_workers import FIRST_PARALLEL_VERSIONS, count_workers
from confiture.estimate.prior import Regime
from confiture.estimate.work_classes import LINEAR_CLASSES
from confiture.sql.statement_kind import classify_statement
from tests.calibration.fit import Residual
from tests.calibration.subjects import SUBJECTS

HERE = Path(__file__).parents[1] / "data" / "timings"
FILE = HERE / "timings.csv"
MACHINES = {"A": ("timings.csv",), "B": ("embedded.csv", "serial.csv", "wide.csv")}
"""The files of each machine; what is shipped is learned from all."""
SHARED_BUFFERS_PAGES = int(os.environ.get("SHARED_BUFFERS_PAGES", "16384"))
TIMES = (10, 30, 100)
DESIGNS = ((3, 2), (3, 3), (3, 1), (1, 2), (1, 3), (1, 1))
"""Ways to rehearse: runs at each size, and sizes; what a rehearsal that sees to it itself does comes first."""
PARALLEL_FILES = ("embedded.csv", "wide.csv")
"""Their server had parallel workers, by the default settings."""
_METHODS = {
    case.name: classify_statement(case.sql).index_method
    for subject in SUBJECTS.values()
    for case in subject.cases
    if case.work_class == "index"
}
_BLOCK_BYTES = 8192
FEWEST_ROWS = 10_000
FEWEST_MS = 1.0
FARTHEST = 101
CATALOG = "catalog"
# What the given file does not tell apart: both grow faster than the class that stands there. Its server sorts
# texts by the rules of a language; that of the other files by their bytes, which takes no longer than numbers.
KINDS = {
    **dict.fromkeys(("add_fk", "validate_fk", "foreign_key"), "foreign key"),
    **dict.fromkeys(("idx_expr", "idx_multi"), "text index"),
}
# Their plan becomes a parallel one at some size: a rehearsal says *unknown* then.
PLAN_CHANGES = {("embedded.csv", "matview_days"), ("wide.csv", "wide_matview")}
# From so many rows on PostgreSQL checks this key by an index alone, below by the table: EXPLAIN under the
# settings of a check says so, and the time per row halves. Smaller tables were vacuumed before the log was
# flushed, which leaves no page marked as all-visible. The other keys of these files keep one plan.
REPLANNED_ROWS = {("embedded.csv", "foreign_key"): 1_000_000, ("serial.csv", "foreign_key"): 1_000_000}

Cases = Sequence["Case"]


@frozen(eq=False)
class Case:
    """One migration on tables of several sizes.

    Attributes:
        name: The same migration has the same name on every machine and with every configuration.
        kind: Its class.
        ms: Its runs, by rows.
        pages: Of the table, by rows.
        workers: That helped to build an index, by rows.
        replanned_rows: The rows from which on its plan is another; ``None`` if it is known of none.
    """

    name: str
    kind: str
    ms: Mapping[int, Sequence[float]]
    pages: Mapping[int, int]
    workers: Mapping[int, int]
    replanned_rows: int | None = None

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
        replanned: True if the plan there is another, so that a rehearsal says *unknown*.
    """

    residual: Residual
    rows: int
    target: int
    replanned: bool = False

    @property
    def nominal(self) -> int | None:
        """Which of ``TIMES`` this is, ``None`` for another."""
        return next((times for times in TIMES if 0.9 < self.target / self.rows / times < 1.15), None)


def read_cases(*files: Path) -> list[Case]:
    """Return the cases of files, each file with cases of its own."""
    return [case for file in files for case in _read_file(file)]


def _read_file(file: Path) -> Iterator[Case]:
    ms: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    pages: dict[str, dict[int, int]] = defaultdict(dict)
    kinds = {}
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            case, rows = line["case"], int(line["rows"])
            ms[case][rows].append(float(line["adj_s"]) * 1000)
            kinds[case], pages[case][rows] = KINDS.get(case, line["class"]), int(line["pages"])
    return (
        Case(
            case,
            kinds[case],
            ms[case],
            pages[case],
            _count_workers(file.name, case, pages[case]),
            REPLANNED_ROWS.get((file.name, case)),
        )
        for case in ms
        if (file.name, case) not in PLAN_CHANGES
    )


def _count_workers(file: str, case: str, pages: Mapping[int, int]) -> dict[int, int]:
    parallel = file in PARALLEL_FILES and _METHODS.get(case) in FIRST_PARALLEL_VERSIONS
    return {rows: count_workers(size * _BLOCK_BYTES, {}) if parallel else 0 for rows, size in pages.items()}


def read_machine(name: str) -> list[Case]:
    """Return the cases that were timed on a machine."""
    return read_cases(*(HERE / file for file in MACHINES[name]))


def read_all() -> list[Case]:
    """Return the cases of all machines."""
    return [case for name in MACHINES for case in read_machine(name)]


def predict_all(cases: Cases, design: tuple[int, int], form: CurveForm) -> list[Prediction]:
    """Return all predictions that count as answerable, for one way to rehearse and one form of curves."""
    return [
        prediction
        for case in cases
        if case.kind != CATALOG
        for rows in case.sizes
        for target in case.sizes
        if 1 <= target / rows <= FARTHEST and rows >= FEWEST_ROWS
        for prediction in _share_weight(list(_predict(case, design, rows, target, form)))
    ]


def _predict(
    case: Case, design: tuple[int, int], rows: int, target: int, form: CurveForm
) -> Iterator[Prediction]:
    runs, sizes = design
    known = [size for size in case.sizes if size <= rows][-sizes:]
    if len(known) < sizes:
        return
    crosses = case.pages[rows] <= SHARED_BUFFERS_PAGES < case.pages[target]
    replanned = case.replanned_rows is not None and rows < case.replanned_rows <= target
    for first in range(len(case.ms[rows])):
        points = [
            Point(size, _compute_median(case.ms[size], first, runs), case.workers[size]) for size in known
        ]
        if points[-1].ms < FEWEST_MS:
            continue
        curve = fit_curve(points, case.kind, linear=case.kind in LINEAR_CLASSES, form=form)
        expected = curve.predict_ms(target, case.workers[target])
        for true in _select_other_runs(case.ms[target], first, runs if target == rows else 0):
            residual = Residual(
                case.name,
                case.kind,
                Regime(runs, sizes, crosses),
                target / rows,
                points[-1].ms,
                math.log(true / expected),
            )
            yield Prediction(residual, rows, target, replanned)


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
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for case in cases:
        if case.kind == CATALOG:
            pairs[case.name] += [
                (rehearsed, true)
                for rows in case.sizes
                for rehearsed in case.ms[rows]
                for target in case.sizes
                if target >= 10 * rows
                for true in case.ms[target]
            ]
    return pairs
