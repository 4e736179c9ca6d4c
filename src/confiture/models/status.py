"""How things stand: one line of ``status``, one line of ``plugins``."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen
class MigrationStatus:
    """One line of ``status``."""

    version: str
    name: str
    state: Literal["applied", "pending", "changed", "missing", "unfinished"]
    applied_at: str | None = None


@frozen
class PluginStatus:
    """One line of ``plugins``."""

    name: str
    distribution: str
    version: str
    state: Literal["ready", "unused", "broken"]
    phases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
