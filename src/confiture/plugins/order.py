"""Register plugins, and ask pluggy in which order it calls their hooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import pluggy

from confiture.hooks import spec
from confiture.plugins.check import PHASES, HookReader
from confiture.plugins.load import LoadedPlugin

Manager = TypeVar("Manager", bound=pluggy.PluginManager)


def fill_manager(loaded: Iterable[LoadedPlugin], manager: Manager) -> Manager:
    """Register the plugins so that the first one is called first, and return ``manager``.

    The hookspecs must be added to ``manager`` before.
    """
    # pluggy calls the plugin that was registered last first.
    for plugin in reversed(tuple(loaded)):
        manager.register(plugin.plugin, plugin.name)
    return manager


def list_order(loaded: Iterable[LoadedPlugin]) -> dict[str, tuple[str, ...]]:
    """Return the plugins called in each phase, first to last; plugins with faults are left out."""
    reader = HookReader()
    reader.add_hookspecs(spec)
    manager = fill_manager((plugin for plugin in loaded if not plugin.faults), reader)
    # pluggy keeps implementations in the reverse of the call order.
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
    names = ", ".join(mark for mark, is_set in marks.items() if is_set)
    return f"{impl.plugin_name} ({names})" if names else impl.plugin_name
