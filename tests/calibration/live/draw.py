"""Predicted against actual, as a picture: both axes logarithmic, the intervals as whiskers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import frozen

from confiture.estimate.error_law import NEAR_FACTORS
from tests.calibration.live.measure import Judged
from tests.calibration.live.render import format_ms, is_answered

WIDTH, HEIGHT = 760, 640
_LEFT, _TOP, _SIDE = 90, 50, 540
_COLOURS = {
    "scan": "#1b7837",
    "index": "#2166ac",
    "rewrite": "#b2182b",
    "dml": "#8c510a",
    "matview": "#762a83",
}
_STYLE = (
    "text{font:13px sans-serif;fill:#222} .title{font-size:16px} .small{font-size:11px}"
    " .grid{stroke:#ddd} .true{stroke:#222;stroke-dasharray:5 4} .near{fill:#eee}"
)


@frozen
class Axes:
    """Both axes, from the same shortest time to the same longest.

    Attributes:
        low: The power of ten that they begin at, high: that they end at.
    """

    low: float
    high: float

    def x(self, ms: float) -> float:
        """Return where an actual time stands."""
        return _LEFT + _SIDE * self._share(ms)

    def y(self, ms: float) -> float:
        """Return where a predicted time stands."""
        return _TOP + _SIDE * (1 - self._share(ms))

    def _share(self, ms: float) -> float:
        return (math.log10(ms) - self.low) / (self.high - self.low)


def draw_picture(judged: Sequence[Judged], title: str) -> str:
    """Return an SVG of those that have an interval, numbered as in the table."""
    numbered = [(number, answer) for number, answer in enumerate(judged, 1) if is_answered(answer)]
    axes = _compute_axes([answer for _, answer in numbered])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{title}</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _draw_text(_LEFT, 28, title, "title"),
        *_draw_ground(axes),
        *(_draw_whisker(axes, number, answer) for number, answer in numbered),
        *_draw_legend([answer.change.work for _, answer in numbered]),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _compute_axes(judged: Sequence[Judged]) -> Axes:
    times = [ms for answer in judged for ms in (answer.actual_ms, *_get_interval(answer))] or [1.0, 10.0]
    low, high = math.log10(min(times) * 0.8), math.log10(max(times) * 1.25)
    return Axes(low, high)


def _get_interval(judged: Judged) -> tuple[float, float]:
    return judged.prediction.estimate.interval90_ms or (1.0, 1.0)


def _draw_ground(axes: Axes) -> Iterator[str]:
    """Draw what is there before the first point: where the truth would be, the marks, the words."""
    first, last = 10**axes.low, 10**axes.high
    (down, up) = NEAR_FACTORS
    corners = ((first, first / up), (last, last / up), (last, last / down), (first, first / down))
    inside = (
        f'<clipPath id="inside"><rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"/></clipPath>'
    )
    points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in corners)
    yield f'<defs>{inside}</defs><polygon class="near" points="{points}" clip-path="url(#inside)"/>'
    for ms in _find_marks(axes):
        x, y, end = axes.x(ms), axes.y(ms), _LEFT + _SIDE
        yield _draw_line(x, _TOP, x, _TOP + _SIDE, 'class="grid"') + _draw_line(
            _LEFT, y, end, y, 'class="grid"'
        )
        yield _draw_text(x, _TOP + _SIDE + 18, format_ms(ms), "small", "middle")
        yield _draw_text(_LEFT - 8, y + 4, format_ms(ms), "small", "end")
    yield _draw_line(_LEFT, _TOP + _SIDE, _LEFT + _SIDE, _TOP, 'class="true"')
    yield _draw_text(_LEFT + _SIDE / 2, HEIGHT - 12, "actual", anchor="middle")
    yield f'<g transform="translate(22 {_TOP + _SIDE / 2}) rotate(-90)">{_draw_text(0, 0, "predicted", anchor="middle")}</g>'


def _find_marks(axes: Axes) -> list[float]:
    powers = range(math.floor(axes.low), math.ceil(axes.high) + 1)
    marks = [share * 10.0**power for power in powers for share in (1, 2, 5)]
    return [ms for ms in marks if axes.low <= math.log10(ms) <= axes.high]


def _draw_whisker(axes: Axes, number: int, judged: Judged) -> str:
    estimate = judged.prediction.estimate
    x, colour = axes.x(judged.actual_ms), _COLOURS.get(judged.change.work, "#222")
    low, high = map(axes.y, _get_interval(judged))
    inner_low, inner_high = map(axes.y, estimate.interval50_ms or (1.0, 1.0))
    middle = axes.y(estimate.p50_ms or 1.0)
    return (
        f'<g stroke="{colour}"><title>{judged.change.name}: predicted {format_ms(estimate.p50_ms or 0.0)},'
        f" actual {format_ms(judged.actual_ms)}</title>"
        + _draw_line(x, low, x, high, 'stroke-width="1.5"')
        + _draw_line(x, inner_low, x, inner_high, 'stroke-width="5" stroke-opacity="0.5"')
        + "".join(_draw_line(x - 4, end, x + 4, end, 'stroke-width="1.5"') for end in (low, high))
        + f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="4" fill="{colour}"/></g>'
        + _draw_text(x + 7, middle + 4, str(number), "small")
    )


def _draw_legend(works: Sequence[str]) -> Iterator[str]:
    left = _LEFT + _SIDE + 20
    for place, work in enumerate(dict.fromkeys(works)):
        y = _TOP + 10 + 22 * place
        yield f'<circle cx="{left}" cy="{y - 4}" r="5" fill="{_COLOURS.get(work, "#222")}"/>'
        yield _draw_text(left + 12, y, work)
    for place, words in enumerate(("thin: 90 %", "thick: 50 %", "grey: ±15 %")):
        yield _draw_text(left - 5, _TOP + 150 + 18 * place, words, "small")


def _draw_line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _draw_text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{words}</text>'
