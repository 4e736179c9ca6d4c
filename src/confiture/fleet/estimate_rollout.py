"""Estimate how long a whole rollout takes, from the targets that were rehearsed."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from confiture.fleet.choose_sample import get_kind
from confiture.fleet.policy import FleetPolicy
from confiture.fleet.target import Target
from confiture.fleet.work_queue import TargetBatch, WorkQueue
from confiture.models.fleet_rehearsal import RolloutEstimate, SampledTarget, WaveEstimate
from confiture.models.fleet_shape import TargetShape

# What a run does on a target besides the migrations, as multiples of what reading the target took: it
# connects three times, creates or reads the ledger, and reads the schema before and after. Measured on the
# embedded server with forty tenants: 3.7 times as long in the first run, which creates the ledgers, then 2.8.
_OVERHEAD = (2.0, 3.0, 5.0)


@frozen
class TargetForecast:
    """How long one target takes.

    Attributes:
        low_ms: The lower end of its interval.
        p50_ms: The point estimate.
        high_ms: The upper end of its interval.
        reason: Why there is no interval; all three are what the rehearsal took then.
    """

    low_ms: float
    p50_ms: float
    high_ms: float
    reason: str | None = None

    def add_overhead(self, reading_ms: float) -> TargetForecast:
        """Return the forecast with what a run does besides the migrations."""
        low, p50, high = (times * reading_ms for times in _OVERHEAD)
        return TargetForecast(self.low_ms + low, self.p50_ms + p50, self.high_ms + high, self.reason)


NOTHING = TargetForecast(0.0, 0.0, 0.0)


def estimate_rollout(
    waves: Sequence[Sequence[Target]],
    shapes: Mapping[str, TargetShape],
    sampled: Sequence[SampledTarget],
    policy: FleetPolicy,
) -> RolloutEstimate:
    """Return the estimate of all waves, soak times included; unknown if that of one target is.

    A target that was not rehearsed takes the time of those with the same pending migrations, interpolated by
    its size. Targets like one that failed are left out, and so are those that cannot be read.
    """
    failing = {get_kind(sample.shape) for sample in sampled if sample.error}
    forecasts: dict[str, TargetForecast] = {}
    total = sum(map(len, waves))
    reason: str | None = None
    for target in (target for wave in waves for target in wave):
        shape = shapes[target.name]
        if shape.fault or (shape.pending and get_kind(shape) in failing):
            continue
        forecast = forecast_target(shape, sampled)
        reason = reason or forecast.reason
        forecasts[target.name] = forecast
    running = [[target for target in wave if target.name in forecasts] for wave in waves]
    soak_ms = 1000 * policy.soak_s * max(0, len(waves) - 1)
    estimates = tuple(_estimate_wave(wave, forecasts, policy) for wave in running)
    return RolloutEstimate(estimates, soak_ms, total - len(forecasts), reason)


def forecast_target(shape: TargetShape, sampled: Sequence[SampledTarget]) -> TargetForecast:
    """Return how long a target takes."""
    if not shape.pending:
        return NOTHING
    alike = [sample for sample in sampled if sample.shape.pending == shape.pending and not sample.error]
    if not alike:
        reason = f"no target with the pending migrations of {shape.name} was rehearsed to its end"
        return evolve(NOTHING, reason=reason)
    points: dict[int, TargetForecast] = {}
    for sample in alike:
        # Of two equally large targets the slower one counts.
        size, forecast = sample.shape.size_bytes or 0, _read_forecast(sample)
        points[size] = max(points.get(size, forecast), forecast, key=lambda point: point.high_ms)
    return interpolate_forecast(points, shape.size_bytes or 0).add_overhead(shape.duration_ms)


def _read_forecast(sample: SampledTarget) -> TargetForecast:
    estimate = sample.estimate
    measured_ms = sum(migration.duration_ms or 0.0 for migration in sample.report.migrations)
    if estimate is None or not estimate.known or estimate.interval90_ms is None:
        reason = estimate.reason if estimate else "it was not rehearsed to its end"
        return TargetForecast(measured_ms, measured_ms, measured_ms, f"{sample.shape.name}: {reason}")
    low_ms, high_ms = estimate.interval90_ms
    # Of a change of the catalog only the upper end is known; it took this long here, on the target itself.
    p50_ms = estimate.p50_ms if estimate.p50_ms is not None else min(measured_ms, high_ms)
    return TargetForecast(low_ms, p50_ms, high_ms)


def interpolate_forecast(points: Mapping[int, TargetForecast], size: int) -> TargetForecast:
    """Return the forecast at a size: linearly between the two nearest, beyond the largest in proportion.

    Beyond the largest the lower end stays, and below the smallest the forecast: the tables that a migration
    is about need not grow or shrink with the whole.
    """
    sizes = sorted(points)
    reason = next((point.reason for point in points.values() if point.reason), None)
    place = bisect_left(sizes, size)
    if place == 0:
        return evolve(points[sizes[0]], reason=reason)
    if place == len(sizes):
        last, times = points[sizes[-1]], size / max(1, sizes[-1])
        return TargetForecast(last.low_ms, last.p50_ms * times, last.high_ms * times, reason)
    below, above = points[sizes[place - 1]], points[sizes[place]]
    share = (size - sizes[place - 1]) / (sizes[place] - sizes[place - 1])
    return TargetForecast(
        below.low_ms + share * (above.low_ms - below.low_ms),
        below.p50_ms + share * (above.p50_ms - below.p50_ms),
        below.high_ms + share * (above.high_ms - below.high_ms),
        reason,
    )


def _estimate_wave(
    wave: Sequence[Target], forecasts: Mapping[str, TargetForecast], policy: FleetPolicy
) -> WaveEstimate:
    def compute(get_ms: Callable[[TargetForecast], float]) -> float:
        return compute_makespan_ms(wave, lambda target: get_ms(forecasts[target.name]), policy)

    return WaveEstimate(
        len(wave),
        compute(lambda forecast: forecast.low_ms),
        compute(lambda forecast: forecast.p50_ms),
        compute(lambda forecast: forecast.high_ms),
    )


def compute_makespan_ms(
    wave: Sequence[Target], get_ms: Callable[[Target], float], policy: FleetPolicy
) -> float:
    """Return how long a wave takes if its targets begin as the coordinator begins them."""
    queue = WorkQueue(policy.targets_per_host)
    for target in wave:
        queue.put(TargetBatch(target.host, (target,)))
    now_ms, number = 0.0, 0
    running: list[tuple[float, int, TargetBatch]] = []
    while queue or running:
        while len(running) < policy.workers and (batch := queue.take()):
            number += 1
            heapq.heappush(running, (now_ms + get_ms(batch.targets[0]), number, batch))
        now_ms, _, ended = heapq.heappop(running)
        queue.end(ended)
    return now_ms
