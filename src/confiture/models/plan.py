"""What would run: the pending migrations, in order, each with its statements."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, field, frozen

from confiture.models.migration import Kind


@frozen
class PlannedStep:
    """One pending migration.

    Attributes:
        version: As written in the file's name.
        name: As written.
        file: Where it was read.
        kind: ``"sql"`` or ``"python"``.
        transactional: ``False``: each statement by itself.
        statements: The line and text of each; empty for Python, which tells only when it runs.
    """

    version: str
    name: str
    file: str
    kind: Kind
    transactional: bool = True
    statements: tuple[tuple[int | None, str], ...] = field(default=(), repr=False)


@frozen
class Plan:
    """The pending migrations and the hooks round them.

    Attributes:
        server_version: ``"18.1"``.
        steps: In the order in which they would run.
        hooks: For each phase the hooks that would be called, in order.
    """

    server_version: str | None
    steps: tuple[PlannedStep, ...] = ()
    hooks: Mapping[str, tuple[str, ...]] = Factory(dict)
