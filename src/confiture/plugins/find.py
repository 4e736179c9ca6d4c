"""Find the plugins that installed packages declare in their metadata, and import none of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "confiture"


@frozen
class FoundPlugin:
    """A plugin as declared in the metadata of its package.

    Attributes:
        name: The entry point's name, which the configuration and ``--plugins`` use.
        distribution: The package that contains it.
        version: The version of that package.
        value: What to import: ``"module"`` or ``"module:attribute"``.
        entry_point: The entry point of importlib.metadata.
    """

    name: str
    distribution: str
    version: str
    value: str
    entry_point: EntryPoint | None = field(default=None, eq=False, repr=False)

    @property
    def label(self) -> str:
        """The name, package and version, for messages."""
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


def find_plugins() -> tuple[FoundPlugin, ...]:
    """Return every installed plugin, sorted by name, without importing any."""
    from importlib.metadata import distributions

    found: dict[str, tuple[FoundPlugin, ...]] = {}
    for distribution in distributions():
        for key, plugins in _read_entry_points(distribution):
            # A package may be on sys.path twice, also as an editable install. Python imports the first.
            found.setdefault(key, plugins)
    everything = (plugin for plugins in found.values() for plugin in plugins)
    return tuple(sorted(everything, key=lambda candidate: (candidate.name, candidate.distribution)))


def _read_entry_points(distribution: Distribution) -> Iterator[tuple[str, tuple[FoundPlugin, ...]]]:
    """Yield the package's normalized name with its plugins, if it has any."""
    try:
        ours = [point for point in distribution.entry_points if point.group == GROUP]
        if not ours:
            return
        fields = distribution.metadata.json
        name, version = str(fields.get("name", "unnamed package")), str(fields.get("version", "unknown"))
    except Exception:
        # The metadata of a half-uninstalled or broken package must not stop the plugins that work.
        return
    yield _normalize(name), tuple(FoundPlugin(our.name, name, version, our.value, our) for our in ours)


def _normalize(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "-", name).lower()
