"""Collect the built-in reporters and those of plugins, by calling the hook ``reporters``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy
from attrs import evolve

from confiture.exceptions import PluginFault, describe_error
from confiture.hooks import spec
from confiture.output import builtin_reporters as builtin
from confiture.output.reporters import Reporter
from confiture.plugins.check import HookReader, locate_error, locate_function
from confiture.plugins.load import LoadedPlugin, join_faults
from confiture.plugins.order import fill_manager


def collect_reporters(loaded: Iterable[LoadedPlugin]) -> Mapping[str, Reporter]:
    """Return every reporter by its name: the built-in ones, then those of the plugins.

    Raises:
        PluginFault: A plugin's reporters cannot be used; the message has every fault of every plugin.
    """
    found, faults = find_reporters(loaded)
    if faults:
        raise PluginFault(
            join_faults(faults), hint="fix or uninstall the plugin, or use a built-in format without it"
        )
    return found


def find_reporters(loaded: Iterable[LoadedPlugin]) -> tuple[Mapping[str, Reporter], list[str]]:
    """Return the reporters that can be used, and a sentence for each fault of a plugin's reporters."""
    manager = HookReader()
    manager.add_hookspecs(spec)
    fill_manager(loaded, manager)
    found: dict[str, Reporter] = {reporter.name: reporter for reporter in builtin.reporters()}
    faults: list[str] = []
    for hook in manager.hook.reporters.get_hookimpls():
        given, wrong = _call_hook(hook)
        for reporter in given:
            if reporter.name in found:
                owner = found[reporter.name].plugin or "confiture"
                where = locate_function(hook.function)
                wrong.append(f"the format {reporter.name!r} exists already, in {owner!r}{where}")
            else:
                found[reporter.name] = evolve(reporter, plugin=hook.plugin_name)
        faults += (f"the reporters of plugin {hook.plugin_name!r} cannot be used: {what}" for what in wrong)
    return found, faults


def _call_hook(hook: pluggy.HookImpl) -> tuple[list[Reporter], list[str]]:
    """Return the reporters that a plugin's hook gives, and what is wrong with it."""
    try:
        given: Any = hook.function()
        reporters = list(given or ())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return [], [f"its hook raises {describe_error(error)}{locate_error(error)}"]
    strange = [reporter for reporter in reporters if not isinstance(reporter, Reporter)]
    where = locate_function(hook.function)
    wrong = [f"a {type(reporter).__name__} is not a Reporter{where}" for reporter in strange]
    return [reporter for reporter in reporters if reporter not in strange], wrong
