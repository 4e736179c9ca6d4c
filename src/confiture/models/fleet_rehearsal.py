"""Values that describe the rehearsal of a fleet: a sample of targets, and how long the whole run takes."""

from __future__ import annotations

from attrs import frozen

from confiture.models.fleet_shape import FleetDrift, TargetShape
from confiture.models.report import Estimate, Finding, Report, Verdict


@frozen
class SampledTarget:
    """A target that was rehearsed.

    Attributes:
        shape: What it is like.
        why: Why it is in the sample: ``smallest``, ``median``, ``largest``, or what is different about it.
        alike: How many targets have the same schema and the same pending migrations, itself included.
        report: The report of its rehearsal.
        estimate: How long its migrations take in the run; ``None`` if the rehearsal failed.
    """

    shape: TargetShape
    why: str
    alike: int
    report: Report
    estimate: Estimate | None = None

    @property
    def error(self) -> str | None:
        """Why the rehearsal failed, in one line; ``None`` if it did not."""
        faults = [migration.error for migration in self.report.migrations if migration.error]
        fault = faults[0] if faults else self.report.error
        return fault.message.partition("\n")[0] if fault else None


@frozen
class FleetFinding:
    """A finding of the gate, once for all targets that have it.

    Attributes:
        finding: As it is on the first of them.
        targets: Their names.
    """

    finding: Finding
    targets: tuple[str, ...]


@frozen
class WaveEstimate:
    """How long one wave takes.

    Attributes:
        targets: How many targets it has.
        low_ms: The lower end of the interval.
        p50_ms: The point estimate.
        high_ms: The upper end.
    """

    targets: int
    low_ms: float
    p50_ms: float
    high_ms: float


@frozen
class RolloutEstimate:
    """How long the whole rollout takes, or the reason why that is unknown.

    The interval is a safe bound: its lower end has every target at the lower end of its own 90 % interval,
    and its upper end every target at the upper end, as if all errors were fully correlated.

    Attributes:
        waves: The waves, in order; if unknown, at the times that the rehearsal took.
        soak_ms: The soak times between them.
        failing: How many targets are left out: they cannot be read, or are like one whose rehearsal failed.
        reason: Why it is unknown; ``None`` if it is not.
    """

    waves: tuple[WaveEstimate, ...] = ()
    soak_ms: float = 0.0
    failing: int = 0
    reason: str | None = None

    @property
    def known(self) -> bool:
        """True if there is an interval."""
        return self.reason is None

    @property
    def p50_ms(self) -> float:
        """The point estimate, soak times included."""
        return self.soak_ms + sum(wave.p50_ms for wave in self.waves)

    @property
    def interval90_ms(self) -> tuple[float, float]:
        """The interval, soak times included."""
        return (
            self.soak_ms + sum(wave.low_ms for wave in self.waves),
            self.soak_ms + sum(wave.high_ms for wave in self.waves),
        )


@frozen
class FleetRehearsal:
    """The rehearsal of a fleet.

    Attributes:
        drift: How the targets differ before the run.
        shapes: What each target is like, in the order of the run.
        sampled: The targets that were rehearsed.
        left_out: How many kinds of targets the sample leaves out, because it has a limit.
        findings: The gate's findings.
        rollout: How long the whole takes.
        workers: How many targets are migrated at the same time.
        exit_code: The command's exit code.
        verdict: The gate's verdict; ``None`` if nothing was rehearsed to its end.
    """

    drift: FleetDrift
    shapes: tuple[TargetShape, ...]
    sampled: tuple[SampledTarget, ...]
    left_out: int
    findings: tuple[FleetFinding, ...]
    rollout: RolloutEstimate
    workers: int
    exit_code: int
    verdict: Verdict | None = None
