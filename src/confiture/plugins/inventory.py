"""List every plugin for ``confiture plugins``, broken ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from confiture.config.settings import Settings
from confiture.models.plan import PluginStatus
from confiture.plugins.check import find_table_faults
from confiture.plugins.find import FoundPlugin, find_plugins
from confiture.plugins.load import LoadedPlugin, find_name_clashes, load_plugin
from confiture.plugins.select import parse_pins

FindFaults = Callable[[Sequence[LoadedPlugin]], Sequence[str]]


def list_plugins(settings: Settings, find_more_faults: FindFaults = lambda _: ()) -> tuple[PluginStatus, ...]:
    """Return every plugin that is installed or configured, sorted by name; a broken one with its faults.

    ``find_more_faults`` checks what a plugin that was loaded adds to the other packages.

    Raises:
        ConfigurationFault: ``plugins`` in the configuration cannot be read.
    """
    configured = tuple(pin.name for pin in parse_pins(settings.plugins or ()))
    found = find_plugins()
    clashes = find_name_clashes(found)
    installed = (
        _make_status(candidate, configured, clashes, settings, find_more_faults) for candidate in found
    )
    missing = _list_missing(configured, tuple(settings.plugin_tables), found)
    return tuple(sorted((*installed, *missing), key=lambda plugin: plugin.name))


def _make_status(
    found: FoundPlugin,
    configured: tuple[str, ...],
    clashes: dict[str, str],
    settings: Settings,
    find_more_faults: FindFaults,
) -> PluginStatus:
    loaded = load_plugin(found)
    clash = (clashes[found.name],) if found.name in clashes else ()
    table = settings.plugin_tables.get(found.name, {})
    faults = (*clash, *loaded.faults, *find_table_faults(found.name, loaded.config_keys, table))
    if not loaded.faults:
        faults = (*faults, *find_more_faults((loaded,)))
    return PluginStatus(
        name=found.name,
        distribution=found.distribution,
        version=found.version,
        state="broken" if faults else "ready" if found.name in configured else "unused",
        phases=loaded.phases,
        faults=faults,
    )


def _list_missing(
    configured: tuple[str, ...], tables: tuple[str, ...], found: tuple[FoundPlugin, ...]
) -> Iterator[PluginStatus]:
    installed = {candidate.name for candidate in found}
    for name in dict.fromkeys((*configured, *tables)):
        if name not in installed:
            how = "is configured, but" if name in configured else "has a table of settings and is"
            yield PluginStatus(name, "", "", "broken", faults=(f"plugin {name!r} {how} not installed",))
