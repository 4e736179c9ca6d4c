"""``make calibration``: how good the estimates are, on migrations that nothing was learned from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from confiture.estimate.prior import load_shipped
from tests.calibration.judge import (
    Judged,
    compute_coverage,
    compute_median_error,
    compute_median_width,
    judge_by_folds,
    judge_by_others,
    judge_by_prior,
    resample_range,
)
from tests.calibration.learn import learn_catalog
from tests.calibration.timings import (
    DESIGNS,
    MACHINES,
    TIMES,
    Cases,
    pair_catalog_times,
    read_all,
    read_cases,
    read_machine,
)

SETTINGS = {False: "same host, within memory", True: "crossing a memory threshold"}
OWN_RUNS = 20
"""After so many runs of one's own, estimates are judged as those of one's own server."""
JUDGED_DESIGNS = ((3, 2), (1, 2), (1, 1))
ANSWERED = 0.9
COVERED = (0.87, 0.93)
COVERED_BY_GROUP = 0.85
WIDTHS = {False: 1.5, True: 1.8}
CONFIDENCE_OFF = 5.0
_HEAD = (
    "| predicted at | answered | cases | 50 % | 80 % | 90 % (cases redrawn) | width | median error "
    "| confidence stated | true within 15 % |"
)
_RULE = "|---|---|---|---|---|---|---|---|---|---|"


def main() -> None:
    """Print the tables."""
    if file := os.environ.get("TIMINGS"):
        _print_by_prior(read_cases(Path(file)))
        return
    cases, spread = read_all(), load_shipped().machine_spread
    print(
        f"# Calibration on {len(cases)} cases of {len(MACHINES)} machines, a tenth judged by what nine tenths teach\n"
    )
    print(
        f"As after {OWN_RUNS} runs on one's own server; the spread between machines is {spread:.2f} before."
    )
    for design in JUDGED_DESIGNS:
        judged = _select_nominal(judge_by_folds(cases, design, spread, OWN_RUNS))
        first = _select_nominal(judge_by_folds(cases, design, spread)) if design == DESIGNS[0] else []
        _print_design(design, judged, aims=design == DESIGNS[0], first=first)
    _print_catalog(cases)
    _print_machines(spread)


def _select_nominal(judged: Sequence[Judged]) -> list[Judged]:
    return [judgement for judgement in judged if judgement.prediction.nominal]


def _print_machines(spread: float) -> None:
    """Print how good first estimates are on a machine of which no timing was learned from."""
    print("\n# One machine left out: its cases judged by what the others teach")
    for design in JUDGED_DESIGNS:
        print(f"\n{_describe_design(design)}\n\n{_HEAD.replace('predicted at', 'machine')}\n{_RULE}")
        for name in MACHINES:
            others = [case for other in MACHINES if other != name for case in read_machine(other)]
            judged = _select_nominal(judge_by_others(read_machine(name), others, design, spread))
            for crosses, setting in SETTINGS.items():
                _print_row(f"{name}, {setting}", _select_setting(judged, crosses=crosses))


def _print_by_prior(cases: Cases) -> None:
    print("# Timings that nothing was learned from, judged by the prior that is shipped")
    for design in JUDGED_DESIGNS:
        judged = _select_nominal(judge_by_prior(cases, design, load_shipped()))
        _print_design(design, judged, aims=design == DESIGNS[0])


def _select_setting(judged: Sequence[Judged], *, crosses: bool) -> list[Judged]:
    return [judgement for judgement in judged if judgement.prediction.residual.regime.crosses == crosses]


def _describe_design(design: tuple[int, int]) -> str:
    runs, sizes = design
    return f"{_count(runs, 'run')} at each of {_count(sizes, 'size')}"


def _print_design(
    design: tuple[int, int], judged: Sequence[Judged], *, aims: bool, first: Sequence[Judged] = ()
) -> None:
    print(f"\n## {_describe_design(design)}")
    for crosses, setting in SETTINGS.items():
        regime_judged = _select_setting(judged, crosses=crosses)
        print(f"\n{setting}\n\n{_HEAD}\n{_RULE}")
        _print_row("all", regime_judged)
        if first:
            _print_row("all, first estimates", _select_setting(first, crosses=crosses))
        for times in TIMES:
            _print_row(
                f"{times} ×",
                [judgement for judgement in regime_judged if judgement.prediction.nominal == times],
            )
        groups = _group_by_class(regime_judged)
        for name, group in groups.items():
            _print_row(name, group)
        if aims:
            _print_aims(crosses, regime_judged, groups)
    _print_reliability([judgement for judgement in judged if judgement.answered])


def _group_by_class(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for judgement in judged:
        groups[judgement.prediction.residual.kind].append(judgement)
    return dict(sorted(groups.items()))


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"


def _print_row(label: str, judged: Sequence[Judged]) -> None:
    answered = [judgement for judgement in judged if judgement.answered]
    if not answered:
        print(f"| {label} | 0 of {len(judged)} | | | | | | | | |")
        return
    low, high = resample_range(answered, lambda judgement: compute_coverage(judgement, 0.9))
    cells = (
        f"{len(answered)} of {len(judged)}",
        str(len({judgement.case for judgement in answered})),
        *(f"{100 * compute_coverage(answered, share):.1f}" for share in (0.5, 0.8)),
        f"{100 * compute_coverage(answered, 0.9):.1f} ({100 * low:.0f} to {100 * high:.0f})",
        f"×/÷ {compute_median_width(answered):.2f}",
        f"{100 * compute_median_error(answered):.1f} %",
        f"{_compute_stated(answered):.0f} %",
        f"{_compute_hits(answered):.0f} %",
    )
    print(f"| {label} | {' | '.join(cells)} |")


def _print_aims(crosses: bool, judged: Sequence[Judged], groups: dict[str, list[Judged]]) -> None:
    answered = [judgement for judgement in judged if judgement.answered]
    if not answered:
        return
    coverage = compute_coverage(answered, 0.9)
    least, most = COVERED
    wanting = [
        name
        for name, group in groups.items()
        if (known := [judgement for judgement in group if judgement.answered])
        and compute_coverage(known, 0.9) < COVERED_BY_GROUP
    ]
    aims = {
        f"at least {ANSWERED:.0%} answered": len(answered) >= ANSWERED * len(judged),
        f"90 % coverage {100 * least:.0f} to {100 * most:.0f} %": least <= coverage <= most,
        f"at least {COVERED_BY_GROUP:.0%} in every class"
        + (f" (not {', '.join(wanting)})" if wanting else ""): not wanting,
        f"width at most ×/÷ {WIDTHS[crosses]}": compute_median_width(answered) <= WIDTHS[crosses],
        f"confidence within {CONFIDENCE_OFF:.0f} points": abs(
            _compute_stated(answered) - _compute_hits(answered)
        )
        <= CONFIDENCE_OFF,
    }
    print("\n" + "; ".join(f"{aim}: {'reached' if yes else 'NOT reached'}" for aim, yes in aims.items()))


def _print_reliability(judged: Sequence[Judged]) -> None:
    bins: dict[int, list[Judged]] = defaultdict(list)
    for judgement in judged:
        bins[int(judgement.sure.compute_near_percent() // 10)].append(judgement)
    print("\n| confidence_percent | predictions | cases | stated | true within 15 % |\n|---|---|---|---|---|")
    for tenth, bin_judged in sorted(bins.items()):
        cases = len({judgement.case for judgement in bin_judged})
        print(
            f"| {10 * tenth} to {10 * tenth + 10} | {len(bin_judged)} | {cases} | {_compute_stated(bin_judged):.0f} | {_compute_hits(bin_judged):.0f} |"
        )
    if judged:
        off = (
            len(bin_judged) * abs(_compute_stated(bin_judged) - _compute_hits(bin_judged))
            for bin_judged in bins.values()
        )
        print(f"\nmean difference by tenths: {sum(off) / len(judged):.1f} points")


def _compute_stated(judged: Sequence[Judged]) -> float:
    return fmean(judgement.sure.compute_near_percent() for judgement in judged)


def _compute_hits(judged: Sequence[Judged]) -> float:
    return 100 * fmean(judgement.hit for judgement in judged)


def _print_catalog(cases: Cases) -> None:
    pairs = pair_catalog_times(cases)
    kept = []
    for name, case_pairs in pairs.items():
        bound = learn_catalog([case for case in cases if case.name != name])
        kept += [true <= bound.compute_bound_ms(rehearsed) for rehearsed, true in case_pairs]
    print(
        f"\n## Catalog only\n\n{len(pairs)} cases, {len(kept)} predictions: {100 * fmean(kept):.1f} % within the bound"
    )


if __name__ == "__main__":
    main()
