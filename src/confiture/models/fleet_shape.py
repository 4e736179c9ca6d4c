"""Values that describe what the targets of a fleet are like, and how they differ."""

from __future__ import annotations

from attrs import frozen


@frozen
class TargetShape:
    """What one target is like.

    Attributes:
        name: The target's name.
        fingerprint: The SHA-256 of its schema; ``None`` if it could not be read.
        extensions: Its extensions, each with its version.
        server_version: The version of its server.
        pending: The versions that a run would apply; ``None`` if that was not asked, or a run would refuse.
        size_bytes: How much its tables and indexes take; ``None`` if that was not asked.
        duration_ms: How long it took to connect and to read this.
        fault: Why it could not be read, or a run would refuse it, in one line.
        exit_code: What ``confiture run`` would exit with then.
    """

    name: str
    fingerprint: str | None = None
    extensions: tuple[str, ...] = ()
    server_version: str | None = None
    pending: tuple[str, ...] | None = None
    size_bytes: int | None = None
    duration_ms: float = 0.0
    fault: str | None = None
    exit_code: int = 0


@frozen
class ShapeGroup:
    """The targets that are alike in one respect.

    Attributes:
        value: What they have in common.
        targets: Their names, in the order of the fleet.
        differences: The objects that they do not have as most targets do: ``index orders_fk: removed``.
    """

    value: str
    targets: tuple[str, ...]
    differences: tuple[str, ...] = ()


@frozen
class FleetDrift:
    """How the targets of a fleet differ.

    Attributes:
        schemas: The targets by the fingerprint of their schema, the most frequent first.
        extensions: The targets by extensions and their versions.
        servers: The targets by the version of their server.
        unread: The targets that could not be read, each with the reason.
    """

    schemas: tuple[ShapeGroup, ...]
    extensions: tuple[ShapeGroup, ...]
    servers: tuple[ShapeGroup, ...]
    unread: tuple[TargetShape, ...] = ()

    @property
    def count(self) -> int:
        """How many targets were asked."""
        return sum(len(group.targets) for group in self.servers) + len(self.unread)

    @property
    def deviants(self) -> frozenset[str]:
        """The targets that differ from most others in some respect."""
        groups = (*self.schemas[1:], *self.extensions[1:], *self.servers[1:])
        return frozenset(name for group in groups for name in group.targets)
