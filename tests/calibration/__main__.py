"""``make calibration``: how good the estimates are, on migrations that nothing was learned from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from confiture.estimate.prior import load_shipped
from tests.calibration.judging import (
    Judged,
    compute_coverage,
    compute_median_error,
    compute_median_width,
    judge_by_prior,
    judge_leaving_one_out,
    resample_range,
)
from tests.calibration.learn import learn, learn_catalog
from tests.calibration.timings import (
    DESIGNS,
    FILE,
    OTHER,
    TIMES,
    Cases,
    pair_catalog_times,
    read_both,
    read_cases,
)

SETTINGS = {False: "same host, within memory", True: "crossing a memory threshold"}
ONE_AND_SEVERAL = ((1, 1), DESIGNS[0])
WIDTHS = {False: 1.35, True: 1.55}
ERRORS = {False: 0.10, True: 0.18}
_HEAD = "| predicted at | answered | cases | 50 % | 80 % | 90 % (cases redrawn) | width | median error |"


def main() -> None:
    """Print the tables."""
    file = Path(os.environ.get("TIMINGS") or FILE)
    cases = read_cases(file)
    print(f"# Calibration on {file.name}: {len(cases)} cases, each judged by what the others teach")
    for design in DESIGNS:
        judged = [
            judgement for judgement in judge_leaving_one_out(cases, design) if judgement.prediction.nominal
        ]
        _print_design(design, judged, aims=design == DESIGNS[0])
    _print_catalog(cases)
    if file.resolve() == FILE.resolve():
        _print_machines(cases, read_cases(OTHER))
    else:
        _print_by_prior(cases)


def _print_machines(ours: Cases, theirs: Cases) -> None:
    """Print how good estimates are on a machine that the timings are not of, and what pooling both gives."""
    print(f"\n# Two machines: {FILE.name} with {len(ours)} cases, {OTHER.name} with {len(theirs)}")
    for runs, sizes in ONE_AND_SEVERAL:
        print(f"\n{_count(runs, 'run')} at each of {_count(sizes, 'size')}\n")
        print(
            f"{_HEAD.replace('predicted at', 'cases of | judged by')}\n|---|---|---|---|---|---|---|---|---|"
        )
        pooled = judge_leaving_one_out({**ours, **theirs}, (runs, sizes))
        for file, machine_cases, other_cases in ((FILE, ours, theirs), (OTHER, theirs, ours)):
            judged = {
                "its own others": judge_leaving_one_out(machine_cases, (runs, sizes)),
                "the other machine's": judge_by_prior(machine_cases, (runs, sizes), learn(other_cases)),
                "all others": [judgement for judgement in pooled if judgement.case in machine_cases],
            }
            for label, judgements in judged.items():
                _print_row(
                    f"{file.name} | {label}",
                    [judgement for judgement in judgements if judgement.prediction.nominal],
                )


def _print_by_prior(cases: Cases) -> None:
    new = {name: cases[name] for name in cases.keys() - read_both().keys()}
    print(f"\n# The same by the prior that is shipped, which knows nothing of {len(new)} of these cases")
    for design in DESIGNS:
        judged = [
            judgement
            for judgement in judge_by_prior(new, design, load_shipped())
            if judgement.prediction.nominal
        ]
        _print_design(design, judged, aims=design == DESIGNS[0])


def _print_design(design: tuple[int, int], judged: Sequence[Judged], *, aims: bool) -> None:
    runs, sizes = design
    print(f"\n## {_count(runs, 'run')} at each of {_count(sizes, 'size')}")
    for crosses, setting in SETTINGS.items():
        regime_judged = [
            judgement for judgement in judged if judgement.prediction.residual.regime.crosses == crosses
        ]
        print(f"\n{setting}\n\n{_HEAD}\n|---|---|---|---|---|---|---|---|")
        _print_row("all", regime_judged)
        for times in TIMES:
            _print_row(
                f"{times} ×",
                [judgement for judgement in regime_judged if judgement.prediction.nominal == times],
            )
        if aims:
            _print_aims(crosses, [judgement for judgement in regime_judged if judgement.answered])
    _print_reliability([judgement for judgement in judged if judgement.answered], aims=aims)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}"


def _print_row(label: str, judged: Sequence[Judged]) -> None:
    answered = [judgement for judgement in judged if judgement.answered]
    if not answered:
        print(f"| {label} | 0 of {len(judged)} | | | | | | |")
        return
    low, high = resample_range(answered, lambda judgement: compute_coverage(judgement, 0.9))
    cells = (
        f"{len(answered)} of {len(judged)}",
        str(len({judgement.case for judgement in answered})),
        *(f"{100 * compute_coverage(answered, share):.1f}" for share in (0.5, 0.8)),
        f"{100 * compute_coverage(answered, 0.9):.1f} ({100 * low:.0f} to {100 * high:.0f})",
        f"×/÷ {compute_median_width(answered):.2f}",
        f"{100 * compute_median_error(answered):.1f} %",
    )
    print(f"| {label} | {' | '.join(cells)} |")


def _print_aims(crosses: bool, judged: Sequence[Judged]) -> None:
    if not judged:
        return
    low, high = resample_range(judged, lambda judgements: compute_coverage(judgements, 0.9))
    aims = {
        "90 % coverage at least 85 %": compute_coverage(judged, 0.9) >= 0.85,
        "90 % within its range": low <= 0.9 <= high,
        f"width at most ×/÷ {WIDTHS[crosses]}": compute_median_width(judged) <= WIDTHS[crosses],
        f"median error at most {100 * ERRORS[crosses]:.0f} %": compute_median_error(judged)
        <= ERRORS[crosses],
    }
    _print_reached(aims)


def _print_reached(aims: dict[str, bool]) -> None:
    print("\n" + "; ".join(f"{aim}: {'reached' if yes else 'NOT reached'}" for aim, yes in aims.items()))


def _print_reliability(judged: Sequence[Judged], *, aims: bool) -> None:
    bins: dict[int, list[Judged]] = defaultdict(list)
    for judgement in judged:
        bins[int(judgement.sure.compute_near_percent() // 10)].append(judgement)
    print("\n| confidence_percent | predictions | stated | true within 15 % |\n|---|---|---|---|")
    for tenth, bin_judged in sorted(bins.items()):
        print(
            f"| {10 * tenth} to {10 * tenth + 10} | {len(bin_judged)} | {_compute_stated(bin_judged):.0f} | {_compute_hits(bin_judged):.0f} |"
        )
    if judged:
        off = {
            tenth: abs(_compute_stated(bin_judged) - _compute_hits(bin_judged))
            for tenth, bin_judged in bins.items()
        }
        mean = sum(len(bins[tenth]) * off[tenth] for tenth in bins) / len(judged)
        print(f"\nweighted mean difference: {mean:.1f} points")
        if aims:
            large = all(off[tenth] <= 10 for tenth in bins if len(bins[tenth]) >= 100)
            _print_reached({"mean at most 5 points": mean <= 5, "bins of 100 or more within 10": large})


def _compute_stated(judged: Sequence[Judged]) -> float:
    return fmean(judgement.sure.compute_near_percent() for judgement in judged)


def _compute_hits(judged: Sequence[Judged]) -> float:
    return 100 * fmean(judgement.hit for judgement in judged)


def _print_catalog(cases: Cases) -> None:
    pairs = pair_catalog_times(cases)
    if len(pairs) < 2:
        return
    kept = []
    for name, case_pairs in pairs.items():
        bound = learn_catalog({other: cases[other] for other in cases if other != name})
        kept += [true <= bound.compute_bound_ms(rehearsed) for rehearsed, true in case_pairs]
    print(
        f"\n## Catalog only\n\n{len(pairs)} cases, {len(kept)} predictions: {100 * fmean(kept):.1f} % within the bound"
    )


if __name__ == "__main__":
    main()
