"""Found: the plugins that installed packages name in their metadata; nothing of theirs is imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "confiture"


@frozen
class FoundPlugin:
    """A plugin as its package's metadata names it.

    Attributes:
        name: The entry point's name, which the configuration and ``--plugins`` use.
        distribution: The package that brings it.
        version: That package's version.
        value: Where it is to be imported from, ``"module"`` or ``"module:attribute"``.
        entry_point: As importlib.metadata read it.
    """

    name: str
    distribution: str
    version: str
    value: str
    entry_point: EntryPoint | None = field(default=None, eq=False, repr=False)

    @property
    def label(self) -> str:
        """The plugin as a person reads it: name, package and version."""
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


def find_plugins() -> tuple[FoundPlugin, ...]:
    """Return every installed plugin by name, without importing any."""
    from importlib.metadata import distributions

    found: dict[str, tuple[FoundPlugin, ...]] = {}
    for distribution in distributions():
        for key, plugins in _read_entry_points(distribution):
            # The first on sys.path is the one that gets imported; the same package again is not a second one.
            found.setdefault(key, plugins)
    everything = (plugin for plugins in found.values() for plugin in plugins)
    return tuple(sorted(everything, key=lambda candidate: (candidate.name, candidate.distribution)))


def _read_entry_points(distribution: Distribution) -> Iterator[tuple[str, tuple[FoundPlugin, ...]]]:
    """Yield the package's normalized name with its plugins, where it has any."""
    try:
        ours = [point for point in distribution.entry_points if point.group == GROUP]
        if not ours:
            return
        fields = distribution.metadata.json
        name, version = str(fields.get("name", "unnamed package")), str(fields.get("version", "unknown"))
    except Exception:
        # Half an uninstall, or another project's broken file: it must not stop the plugins that work.
        return
    yield _normalize(name), tuple(FoundPlugin(our.name, name, version, our.value, our) for our in ours)


def _normalize(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "-", name).lower()
