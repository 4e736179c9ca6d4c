"""Plugins for the tests of finding and loading: found in the test's own folder alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from confiture.plugins.find import FoundPlugin, find_plugins
from confiture.plugins.load import LoadedPlugin, load_plugin


@pytest.fixture
def found_in(site) -> Callable[[], tuple[FoundPlugin, ...]]:
    """Return what was found in the test's own folder; the environment may have plugins of its own."""

    def only_ours() -> tuple[FoundPlugin, ...]:
        return tuple(
            plugin for plugin in find_plugins() if plugin.entry_point and _lies_in(plugin, site.parent)
        )

    return only_ours


def _lies_in(found: FoundPlugin, folder: Path) -> bool:
    distribution = getattr(found.entry_point, "dist", None)
    return distribution is not None and str(distribution.locate_file("")).startswith(str(folder))


@pytest.fixture
def loaded(fake_distribution, found_in) -> Callable[..., LoadedPlugin]:
    """Install a plugin from its source and load it."""

    def load_source(source: str, *, name: str = "jam", entry: str | None = None) -> LoadedPlugin:
        fake_distribution(name, source, entry=entry)
        return load_plugin(next(item for item in found_in() if item.name == name))

    return load_source
