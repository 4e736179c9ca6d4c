"""Predicted against actual, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from confiture.estimate.error_law import NEAR_FACTORS
from tests.calibration.live.measure import Judged

_HEAD = "| | statement | class | predicted | 90 % interval | confidence | actual | inside | off by |"


def render_table(judged: Sequence[Judged]) -> str:
    """Return a line for each statement."""
    lines = [_HEAD, "|---|---|---|---|---|---|---|---|---|"]
    lines += [f"| {number} | {_render_line(answer)} |" for number, answer in enumerate(judged, 1)]
    return "\n".join(lines)


def _render_line(judged: Judged) -> str:
    start = (f"`{judged.change.sql}`", judged.change.work)
    return " | ".join((*start, *_render_answer(judged)))


def _render_answer(judged: Judged) -> tuple[str, ...]:
    estimate = judged.prediction.estimate
    actual = format_ms(judged.actual_ms)
    if not estimate.known:
        return f"unknown: {estimate.reason}", "", "", actual, "", ""
    assert estimate.interval90_ms
    low, high = estimate.interval90_ms
    within = "yes" if is_inside(judged) else "NO"
    if estimate.p50_ms is None:
        return f"at most {format_ms(high)}", "", "", actual, within, ""
    return (
        format_ms(estimate.p50_ms),
        f"{format_ms(low)} to {format_ms(high)}",
        f"{estimate.confidence_percent:.0f} %",
        actual,
        within,
        f"{100 * compute_error(judged):+.0f} %",
    )


def render_summary(judged: Sequence[Judged]) -> str:
    """Return how good the answers were, one line a setting."""
    bounded = [answer for answer in judged if is_bounded(answer)]
    unknown = sum(not answer.prediction.estimate.known for answer in judged)
    lines = [
        f"answered {len(judged) - unknown} of {len(judged)}; "
        f"catalog only: {sum(map(is_inside, bounded))} of {len(bounded)} within their bound"
    ]
    for crosses, setting in ((False, "within memory"), (True, "crossing a memory threshold")):
        if answered := [answer for answer in judged if is_answered(answer) and answer.crosses == crosses]:
            lines.append(f"{setting}: {_render_figures(answered)}")
    if answered := [answer for answer in judged if is_answered(answer)]:
        stated = fmean(answer.prediction.estimate.confidence_percent or 0.0 for answer in answered)
        lines.append(
            f"both: {_render_figures(answered)}; confidence {stated:.0f} % stated, {_compute_hits(answered):.0f} % within 15 %; "
            f"in the middle the truth is {median(1 + compute_error(answer) for answer in answered):.2f} × the prediction"
        )
    return "\n".join(f"- {line}" for line in lines)


def _render_figures(judged: Sequence[Judged]) -> str:
    return (
        f"{sum(map(is_inside, judged))} of {len(judged)} inside 90 %, {sum(map(_is_inside_half, judged))} inside 50 %, "
        f"median error {100 * median(abs(compute_error(answer)) for answer in judged):.1f} %, "
        f"median width ×/÷ {median(map(_compute_width, judged)):.2f}"
    )


def is_answered(judged: Judged) -> bool:
    """Whether there is an interval, not only a bound."""
    return judged.prediction.estimate.p50_ms is not None


def is_bounded(judged: Judged) -> bool:
    """Whether there is a bound only."""
    return judged.prediction.estimate.known and not is_answered(judged)


def is_inside(judged: Judged) -> bool:
    """Whether the truth was in the 90 % interval, or below the bound."""
    interval = judged.prediction.estimate.interval90_ms
    return interval is not None and interval[0] <= judged.actual_ms <= interval[1]


def compute_error(judged: Judged) -> float:
    """Return by how much the truth was off the point estimate, relative to it."""
    return judged.actual_ms / (judged.prediction.estimate.p50_ms or math.nan) - 1.0


def _is_inside_half(judged: Judged) -> bool:
    interval = judged.prediction.estimate.interval50_ms
    return interval is not None and interval[0] <= judged.actual_ms <= interval[1]


def _compute_width(judged: Judged) -> float:
    low, high = judged.prediction.estimate.interval90_ms or (math.nan, math.nan)
    return math.sqrt(high / low)


def _compute_hits(judged: Sequence[Judged]) -> float:
    return 100 * fmean(NEAR_FACTORS[0] - 1 < compute_error(answer) < NEAR_FACTORS[1] - 1 for answer in judged)


def format_ms(ms: float) -> str:
    """Return a time with three figures: ``412 ms``, ``3.14 s``."""
    if ms < 1000:
        return f"{ms:.3g} ms" if ms < 100 else f"{ms:.0f} ms"
    seconds = ms / 1000
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
