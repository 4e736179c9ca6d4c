"""Define how a fleet is migrated: in which waves, how many at a time, and when to stop."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from confiture.exceptions import UsageFault
from confiture.fleet.target import Target

# One reads the ledger, one holds the migration lock, one does the work.
_CONNECTIONS_PER_TARGET = 3
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


@frozen
class FleetPolicy:
    """How a fleet is migrated.

    Attributes:
        waves: The size of each wave, as a count (``"5"``) or a share of all targets (``"10%"``); what is left
            is the last wave.
        canary: ``tag=value`` of the targets that go first, before the waves; ``None`` for none.
        order_by: The tag that targets are ordered by; ``None`` for the order in which they are listed.
        soak_s: How long to wait after each wave but the last, in seconds.
        stop_after: Stop if more targets than this fail, as a count or a share; ``"0"``: at the first.
        connections_per_host: How many connections to one host are open at the same time.
        workers: How many targets are migrated at the same time.
    """

    waves: tuple[str, ...]
    canary: str | None
    order_by: str | None
    soak_s: float
    stop_after: str
    connections_per_host: int
    workers: int

    @property
    def targets_per_host(self) -> int:
        """How many targets of one host are migrated at the same time."""
        return self.connections_per_host // _CONNECTIONS_PER_TARGET

    def count_allowed_failures(self, total: int) -> int:
        """Return how many targets may fail before the run stops."""
        return read_amount(self.stop_after, total)


def read_amount(text: str, total: int) -> int:
    """Return a count, or the count of a share of ``total``, rounded up.

    Raises:
        UsageFault: It is neither.
    """
    if text.isdecimal():
        return int(text)
    share = _SHARE.fullmatch(text)
    if share is None or float(share[1]) > 100:
        raise UsageFault(f"{text!r} is neither a count nor a share", hint="write 5, or 10%")
    return -int(-total * float(share[1]) // 100)


def assign_waves(targets: Sequence[Target], policy: FleetPolicy) -> tuple[tuple[Target, ...], ...]:
    """Return the targets of each wave, in order; the canary is the first wave if there is one.

    Raises:
        UsageFault: No target is a canary, a tag does not exist, or a wave can never be filled.
    """
    ordered = _order(targets, policy.order_by)
    waves: list[tuple[Target, ...]] = []
    if policy.canary is not None:
        canaries = _find_canaries(ordered, policy.canary)
        waves.append(canaries)
        first = {target.name for target in canaries}
        ordered = [target for target in ordered if target.name not in first]
    _check_limit(policy.stop_after, len(targets))
    check_connections(policy.connections_per_host)
    for size in policy.waves:
        count = read_amount(size, len(targets))
        if count == 0:
            raise UsageFault(f"a wave of {size} has no target", hint="write a count of 1 or more, or a share")
        waves.append(tuple(ordered[:count]))
        ordered = ordered[count:]
    return tuple(wave for wave in (*waves, tuple(ordered)) if wave)


def _check_limit(stop_after: str, total: int) -> None:
    if read_amount(stop_after, total) >= total and not stop_after.endswith("%"):
        raise UsageFault(
            f"stop_after {stop_after} can never be met: there are {total} targets",
            hint="write a smaller count, or 100% never to stop",
        )


def check_connections(connections: int) -> None:
    """Refuse a limit that leaves no room for one target.

    Raises:
        UsageFault: It does.
    """
    if connections < _CONNECTIONS_PER_TARGET:
        raise UsageFault(
            f"connections_per_host = {connections} can never be met:"
            f" a target takes {_CONNECTIONS_PER_TARGET}",
            hint=f"write {_CONNECTIONS_PER_TARGET} or more",
        )


def _order(targets: Sequence[Target], tag: str | None) -> list[Target]:
    if tag is None:
        return list(targets)
    missing = [target.name for target in targets if get_tag(target, tag) is None]
    if missing:
        raise UsageFault(
            f"order_by: {missing[0]} has no tag {tag!r}",
            hint="add the column to the targets, or leave it out",
        )
    return sorted(targets, key=lambda target: _build_key(get_tag(target, tag) or ""))


def _build_key(text: str) -> tuple[float, str]:
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else float("inf"), text


def get_tag(target: Target, tag: str) -> str | None:
    """Return a tag of a target; its name and its schema are tags too."""
    builtin = {"name": target.name, "schema": target.schema}
    return target.tags.get(tag, builtin.get(tag))


def _find_canaries(targets: Sequence[Target], canary: str) -> tuple[Target, ...]:
    tag, sep, value = canary.partition("=")
    found = tuple(target for target in targets if sep and get_tag(target, tag) == value)
    if not found:
        raise UsageFault(
            f"canary: no target has {canary}", hint='write tag=value, as in canary = "tier=test"'
        )
    return found
