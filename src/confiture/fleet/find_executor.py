"""Find an executor by its name: a built-in one, or one of a plugin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import PluginFault, UsageFault
from confiture.fleet.executors import BUILTIN, FleetExecutor
from confiture.plugins.ask_plugin import ask_plugin
from confiture.plugins.load import LoadedPlugin


def find_executor(name: str, plugins: Iterable[LoadedPlugin]) -> FleetExecutor:
    """Return the executor of this name.

    Raises:
        UsageFault: No executor has that name.
        PluginFault: A plugin's executors cannot be used.
    """
    known = {executor.name: executor for executor in (*BUILTIN, *_ask_plugins(plugins))}
    if name not in known:
        raise UsageFault(
            f"there is no executor {name!r}",
            hint=did_you_mean(name, known) or f"the executors are {', '.join(known)}",
        )
    return known[name]


def _ask_plugins(plugins: Iterable[LoadedPlugin]) -> Iterator[FleetExecutor]:
    for plugin in plugins:
        given, faults = ask_plugin(plugin, "executors")
        if faults:
            raise PluginFault(faults[0])
        for executor in given:
            if not isinstance(executor, FleetExecutor):
                raise PluginFault(
                    f"plugin {plugin.name!r}: executors() returns a {type(executor).__name__}",
                    hint="return confiture.fleet.executors.FleetExecutor values",
                )
            yield executor
