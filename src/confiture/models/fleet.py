"""Values that describe a fleet run: what became of each target."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

TargetState = Literal["waiting", "running", "done", "unchanged", "failed"]


@frozen
class TargetOutcome:
    """What a run did to one target.

    Attributes:
        name: The target's name.
        state: ``done`` if something was applied, ``unchanged`` if there was nothing to do, or ``failed``.
        applied: The versions that were applied.
        error: Why it failed, in one line; ``None`` if it did not.
        exit_code: What ``confiture run`` would have exited with.
        duration_ms: How long it took.
    """

    name: str
    state: TargetState
    applied: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = 0
    duration_ms: float = 0.0


@frozen
class Stop:
    """Why a run goes no further.

    Attributes:
        reason: In words.
        exit_code: What the command exits with, if the failed targets say nothing else.
    """

    reason: str
    exit_code: int = 4


@frozen
class TargetRecord:
    """A target of a run, as it is recorded.

    Attributes:
        name: The target's name.
        wave: The wave it is in, counted from 0.
        state: What became of it.
        attempts: How often it was begun.
        error: Why it failed last.
        duration_ms: How long the last attempt took.
        exit_code: What ``confiture run`` would have exited with.
        place: Its server, database and schema.
    """

    name: str
    wave: int
    state: TargetState
    attempts: int
    error: str | None = None
    duration_ms: float | None = None
    exit_code: int | None = None
    place: str = ""


@frozen
class RunRecord:
    """A run of a fleet, as it is recorded.

    Attributes:
        run: Its number.
        plan: The checksum of its migrations.
        state: ``running``, ``killed``, ``paused``, ``stopped`` or ``done``.
        reason: Why it stopped.
        started_at: In ISO 8601.
        targets: Its targets, in order.
    """

    run: int
    plan: str
    state: str
    reason: str | None
    started_at: str
    targets: tuple[TargetRecord, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if nothing failed; the code of the failures if it is one, else 4."""
        codes = {target.exit_code for target in self.targets if target.state == "failed"}
        if not codes:
            return 0
        # 1 is a worker that was lost: no check has said no.
        return next(iter(codes)) or 4 if len(codes) == 1 and codes != {1} else 4


@frozen
class FleetResult:
    """How a command on a fleet ended.

    Attributes:
        record: The run, as it is recorded.
        exit_code: The command's exit code.
    """

    record: RunRecord
    exit_code: int
