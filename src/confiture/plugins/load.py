"""Loaded: imported and checked. A fault is kept as a sentence, and all are told at once."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import PluginFault
from confiture.models.report import PluginUse
from confiture.plugins.check import (
    PluginCheck,
    check_plugin,
    describe_error,
    find_table_faults,
    read_declared_keys,
)
from confiture.plugins.find import FoundPlugin
from confiture.plugins.select import PluginSelection

NO_TABLES: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


@frozen
class LoadedPlugin:
    """A plugin after it was imported and checked.

    Attributes:
        name: The entry point's name.
        distribution: The package that brings it.
        version: That package's version.
        plugin: The module or object; ``None`` where it could not be imported.
        phases: Those it has hooks for, in the order of a migration.
        faults: Why it cannot be used, each naming the plugin.
        config_keys: What its table of the configuration may hold; ``None``: anything.
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
        """The plugin as the ledger and the report name it."""
        return PluginUse(self.name, self.distribution, self.version)


class _Unresolved(Exception):
    """The module is there, the attribute is not."""


def load_plugin(found: FoundPlugin) -> LoadedPlugin:
    """Import one plugin and check it; what is wrong with it ends up in ``faults``."""
    loaded = LoadedPlugin(found.name, found.distribution, found.version)
    try:
        plugin = _import(found.value)
    except KeyboardInterrupt:
        raise
    except _Unresolved as missing:
        return evolve(loaded, faults=(f"{found.label}: {missing}",))
    except BaseException as error:
        fault = f"importing {found.value} failed with {describe_error(error)}{_locate_error(error)}"
        return evolve(loaded, faults=(f"{found.label}: {fault}",))
    return _add_check(loaded, found, plugin)


def _add_check(loaded: LoadedPlugin, found: FoundPlugin, plugin: object) -> LoadedPlugin:
    checked, keys = PluginCheck(), None
    try:
        with _silence_stdout():
            checked = check_plugin(plugin, found.value)
            keys = read_declared_keys(plugin) if not checked.faults else None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        checked = evolve(checked, faults=(f"inspecting {found.value} failed with {describe_error(error)}",))
    faults = tuple(f"{found.label}: {fault}" for fault in checked.faults)
    return evolve(loaded, plugin=plugin, phases=checked.phases, faults=faults, config_keys=keys)


def _import(value: str) -> object:
    """Return what an entry point's ``module`` or ``module:attribute [extra]`` names."""
    name, _, path = re.sub(r"\s*\[.*\]\s*$", "", value).partition(":")
    with _silence_stdout():
        plugin: object = importlib.import_module(name.strip())
        for attribute in filter(None, path.strip().split(".")):
            plugin = _resolve_attribute(plugin, attribute, value)
    return plugin


def _resolve_attribute(owner: object, attribute: str, value: str) -> object:
    try:
        return getattr(owner, attribute)
    except AttributeError:
        if inspect.getattr_static(owner, attribute, None) is not None:
            raise
        near = did_you_mean(attribute, dir(owner))
        raise _Unresolved(
            f"{value} cannot be found, there is no {attribute!r}" + (f"; {near}" if near else "")
        ) from None


def _silence_stdout() -> contextlib.redirect_stdout[Any]:
    # What a plugin prints while it is imported must not end up in a JSON report.
    return contextlib.redirect_stdout(sys.stderr)


def _locate_error(error: BaseException) -> str:
    """Return `` (file:line)`` of the plugin's own code, where the error passed through any."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})" if error.filename else ""
    own, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file not in (__file__, importlib.__file__) and not file.startswith("<frozen "):
            own = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return own


def find_name_clashes(found: Iterable[FoundPlugin]) -> dict[str, str]:
    """Return a sentence for every name that two plugins have."""
    owners: dict[str, list[str]] = {}
    for candidate in found:
        owners.setdefault(candidate.name, []).append(
            f"{candidate.distribution} {candidate.version} ({candidate.value})"
        )
    return {
        name: f"{len(those)} plugins are called {name!r}: {' and '.join(those)}; uninstall all but one"
        for name, those in owners.items()
        if len(those) > 1
    }


def load_all(
    chosen: PluginSelection, tables: Mapping[str, Mapping[str, Any]] = NO_TABLES
) -> tuple[LoadedPlugin, ...]:
    """Import and check the plugins to be used, in order.

    Raises:
        PluginFault: Some cannot be used; every fault of every plugin is in the message.
    """
    loaded = tuple(load_plugin(found) for found in chosen.used)
    faults = list(find_name_clashes(chosen.used).values())
    for plugin in loaded:
        faults += [
            *plugin.faults,
            *find_table_faults(plugin.name, plugin.config_keys, tables.get(plugin.name, {})),
        ]
    if faults:
        # Two plugins of one name read the same table, and have its faults twice.
        raise PluginFault(
            _render_faults(list(dict.fromkeys(faults))),
            hint="mend or uninstall what is named; --no-plugins still runs",
        )
    return loaded


def _render_faults(faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    return "\n  ".join((f"{len(faults)} faults in the plugins to be used:", *faults))
