"""Collects the built-in reporters and those of plugins, by calling the hook ``reporters``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from confiture.exceptions import PluginFault, describe_error
from confiture.hooks import spec
from confiture.output import builtin_reporters as builtin
from confiture.output.reporters import Reporter
from confiture.plugins.check import HookReader
from confiture.plugins.load import LoadedPlugin
from confiture.plugins.order import fill_manager


def collect_reporters(loaded: Iterable[LoadedPlugin]) -> Mapping[str, Reporter]:
    """Return every reporter by its name: the built-in ones, then those of the plugins.

    Raises:
        PluginFault: A plugin's hook raises, returns something else, or uses a name that exists already.
    """
    manager = HookReader()
    manager.add_hookspecs(spec)
    manager.register(builtin, "confiture")
    fill_manager(loaded, manager)
    found: dict[str, Reporter] = {}
    # Built-in reporters first, even if a plugin's hook is marked tryfirst: then the plugin gets the blame for
    # a name that exists twice.
    hooks = sorted(manager.hook.reporters.get_hookimpls(), key=lambda hook: hook.plugin_name != "confiture")
    for hook in hooks:
        for reporter in _call_hook(hook):
            if reporter.name in found:
                raise _build_fault(hook.plugin_name, f"the format {reporter.name!r} exists already")
            found[reporter.name] = reporter
    return found


def _call_hook(hook: pluggy.HookImpl) -> list[Reporter]:
    try:
        given: Any = hook.function()
        reporters = list(given or ())
    except Exception as error:
        raise _build_fault(hook.plugin_name, f"its hook raises {describe_error(error)}") from error
    if strange := [reporter for reporter in reporters if not isinstance(reporter, Reporter)]:
        raise _build_fault(hook.plugin_name, f"a {type(strange[0]).__name__} is not a Reporter")
    return reporters


def _build_fault(plugin: str, what: str) -> PluginFault:
    return PluginFault(
        f"the reporters of plugin {plugin!r} cannot be used: {what}",
        hint="fix or uninstall the plugin, or use a built-in format",
    )
