"""Import and check plugins; collect the faults of all of them, so that one error reports everything."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import PluginFault, describe_error
from confiture.models.report import PluginUse
from confiture.plugins.check import (
    PluginCheck,
    check_plugin,
    find_table_faults,
    locate_error,
    read_declared_keys,
)
from confiture.plugins.find import FoundPlugin
from confiture.plugins.select import PluginSelection
from confiture.streams import lend_streams

NO_TABLES: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@frozen
class LoadedPlugin:
    """A plugin after it was imported and checked.

    Attributes:
        name: The entry point's name.
        distribution: The package that contains it.
        version: The version of that package.
        plugin: The module or object; ``None`` if it could not be imported.
        phases: The hooks it implements: phases in the order of a migration, then other hooks.
        faults: Why it cannot be used; each sentence names the plugin.
        config_keys: The keys that its table of the configuration may have; ``None`` if any are allowed.
    """

    name: str
    distribution: str
    version: str
    plugin: object = field(default=None, eq=False, repr=False)
    phases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    config_keys: tuple[str, ...] | None = None

    @property
    def use(self) -> PluginUse:
        """The plugin's identity in the ledger and the report."""
        return PluginUse(self.name, self.distribution, self.version)


class _Unresolved(Exception):
    """An entry point names an attribute that its module does not have."""


def load_plugin(found: FoundPlugin) -> LoadedPlugin:
    """Import one plugin and check it; errors become ``faults``, none is raised."""
    loaded = LoadedPlugin(found.name, found.distribution, found.version)
    try:
        plugin = _import(found.value)
    except KeyboardInterrupt:
        raise
    except _Unresolved as missing:
        return evolve(loaded, faults=(f"{found.label}: {missing}",))
    # BaseException: a module may call sys.exit() when it is imported.
    except BaseException as error:
        fault = f"importing {found.value} failed with {describe_error(error)}{locate_error(error)}"
        return evolve(loaded, faults=(f"{found.label}: {fault}",))
    return _add_check(loaded, found, plugin)


def _add_check(loaded: LoadedPlugin, found: FoundPlugin, plugin: object) -> LoadedPlugin:
    checked, keys = PluginCheck(), None
    try:
        with lend_streams():
            checked = check_plugin(plugin, found.value)
            keys = read_declared_keys(plugin) if not checked.faults else None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        checked = evolve(checked, faults=(f"inspecting {found.value} failed with {describe_error(error)}",))
    faults = tuple(f"{found.label}: {fault}" for fault in checked.faults)
    return evolve(loaded, plugin=plugin, phases=checked.phases, faults=faults, config_keys=keys)


def _import(value: str) -> object:
    """Import the object that an entry point names: ``module`` or ``module:attribute [extra]``."""
    name, _, path = re.sub(r"\s*\[.*\]\s*$", "", value).partition(":")
    # A plugin may print when it is imported; that must not end up in a JSON report on stdout.
    with lend_streams():
        plugin: object = importlib.import_module(name.strip())
        for attribute in filter(None, path.strip().split(".")):
            plugin = _resolve_attribute(plugin, attribute, value)
    return plugin


def _resolve_attribute(owner: object, attribute: str, value: str) -> object:
    try:
        return getattr(owner, attribute)
    except AttributeError:
        # The attribute exists, and the error comes from the plugin's own code, such as a property.
        if inspect.getattr_static(owner, attribute, None) is not None:
            raise
        near = did_you_mean(attribute, dir(owner))
        raise _Unresolved(
            f"{value} cannot be found, there is no {attribute!r}" + (f"; {near}" if near else "")
        ) from None


def find_name_clashes(found: Iterable[FoundPlugin]) -> dict[str, str]:
    """Return a sentence for every name that several plugins have, by that name."""
    owners: dict[str, list[str]] = {}
    for candidate in found:
        owners.setdefault(candidate.name, []).append(
            f"{candidate.distribution} {candidate.version} ({candidate.value})"
        )
    return {
        name: f"{len(labels)} plugins are called {name!r}: {' and '.join(labels)}; uninstall all but one"
        for name, labels in owners.items()
        if len(labels) > 1
    }


def load_all(
    chosen: PluginSelection, tables: Mapping[str, Mapping[str, Any]] = NO_TABLES
) -> tuple[LoadedPlugin, ...]:
    """Import and check the selected plugins, in order.

    Raises:
        PluginFault: A plugin cannot be used; the message has every fault of every plugin.
    """
    loaded = tuple(load_plugin(found) for found in chosen.used)
    faults = list(find_name_clashes(chosen.used).values())
    for plugin in loaded:
        faults += [
            *plugin.faults,
            *find_table_faults(plugin.name, plugin.config_keys, tables.get(plugin.name, {})),
        ]
    if faults:
        # Two plugins of one name share a table, whose faults would be reported twice.
        raise PluginFault(
            join_faults(list(dict.fromkeys(faults))),
            hint="fix or uninstall the plugin, or run without plugins: --no-plugins",
        )
    return loaded


def join_faults(faults: Sequence[str]) -> str:
    """Return the faults of plugins as one message."""
    if len(faults) == 1:
        return faults[0]
    return "\n  ".join((f"{len(faults)} faults in the selected plugins:", *faults))
