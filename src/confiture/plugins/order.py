"""The order in which hooks are called: pluggy's own, asked rather than foretold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pluggy

from confiture.hooks import spec
from confiture.plugins.check import PHASES, HookReader
from confiture.plugins.load import LoadedPlugin

Manager = TypeVar("Manager", bound=pluggy.PluginManager)


def fill_manager(loaded: Iterable[LoadedPlugin], manager: Manager) -> Manager:
    """Register the plugins so that the first listed is called first, and return ``manager``.

    It must have the six hookspecs already.
    """
    # pluggy calls the last registered first.
    for plugin in reversed(tuple(loaded)):
        manager.register(plugin.plugin, plugin.name)
    return manager


def list_order(loaded: Iterable[LoadedPlugin]) -> dict[str, tuple[str, ...]]:
    """Return who is called in each phase, first to last; a plugin with faults is not."""
    reader = HookReader()
    reader.add_hookspecs(spec)
    manager = fill_manager((plugin for plugin in loaded if not plugin.faults), reader)
    return {
        phase: tuple(
            _name_implementation(impl) for impl in reversed(getattr(manager.hook, phase).get_hookimpls())
        )
        for phase in PHASES
    }


def _name_implementation(impl: pluggy.HookImpl) -> str:
    marks = {
        "wrapper": impl.wrapper or impl.hookwrapper,
        "tryfirst": impl.tryfirst,
        "trylast": impl.trylast,
    }
    said = ", ".join(mark for mark, has in marks.items() if has)
    return f"{impl.plugin_name} ({said})" if said else impl.plugin_name
