"""The plan: the pending migrations in order, each with its statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import Factory, field, frozen

from confiture.models.migration import Kind

MigrationState = Literal["applied", "pending", "changed", "missing", "unfinished"]


@frozen
class PlannedStep:
    """One pending migration.

    Attributes:
        version: The version, as written in the file's name.
        name: The name, as written in the file's name.
        file: The file's path.
        kind: ``"sql"`` or ``"python"``.
        transactional: False if each statement runs by itself.
        statements: The line and text of each statement; empty for Python, whose SQL is unknown until it runs.
    """

    version: str
    name: str
    file: str
    kind: Kind
    transactional: bool = True
    statements: tuple[tuple[int | None, str], ...] = field(default=(), repr=False)


@frozen
class Plan:
    """The pending migrations and the hooks that would be called.

    Attributes:
        server_version: The server's version, such as ``"18.1"``.
        steps: The migrations, in the order in which they would run.
        hooks: The hooks of each phase, in call order.
    """

    server_version: str | None
    steps: tuple[PlannedStep, ...] = ()
    hooks: Mapping[str, tuple[str, ...]] = Factory(dict)


@frozen
class MigrationStatus:
    """One line of ``status``."""

    version: str
    name: str
    state: MigrationState
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
