"""The formats that plugins add to ``--output``, gathered by the hook that also has the built-in ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from confiture.exceptions import PluginFault
from confiture.hooks import spec
from confiture.output import builtin_reporters as builtin
from confiture.output.reporters import Reporter
from confiture.plugins.check import HookReader, describe_error
from confiture.plugins.load import LoadedPlugin
from confiture.plugins.order import fill_manager


def collect_reporters(loaded: Iterable[LoadedPlugin]) -> Mapping[str, Reporter]:
    """Return every reporter by its name: the built-in ones, then those of the plugins.

    Raises:
        PluginFault: A plugin's hook raises, returns something else, or takes a name that is taken.
    """
    manager = HookReader()
    manager.add_hookspecs(spec)
    manager.register(builtin, "confiture")
    fill_manager(loaded, manager)
    found: dict[str, Reporter] = {}
    # Ours first, whatever a plugin's hook says of its own place.
    hooks = sorted(manager.hook.reporters.get_hookimpls(), key=lambda hook: hook.plugin_name != "confiture")
    for hook in hooks:
        for reporter in _call_hook(hook):
            if reporter.name in found:
                raise _build_fault(hook.plugin_name, f"{reporter.name!r} is there already")
            found[reporter.name] = reporter
    return found


def _call_hook(hook: pluggy.HookImpl) -> list[Reporter]:
    try:
        given: Any = hook.function()
        reporters = list(given or ())
    except Exception as error:
        raise _build_fault(hook.plugin_name, f"its hook raises {describe_error(error)}") from error
    if strange := [reporter for reporter in reporters if not isinstance(reporter, Reporter)]:
        raise _build_fault(hook.plugin_name, f"a {type(strange[0]).__name__} is no Reporter")
    return reporters


def _build_fault(plugin: str, what: str) -> PluginFault:
    return PluginFault(
        f"the reporters of plugin {plugin!r} cannot be used: {what}",
        hint="mend or uninstall the plugin; the built-in formats need none",
    )
