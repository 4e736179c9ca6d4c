"""Ask the plugins between two waves whether a fleet run may go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pluggy

from confiture.hooks import spec
from confiture.models.fleet import TargetOutcome
from confiture.plugins.load import LoadedPlugin

CheckHealth = Callable[[int, int, Sequence[TargetOutcome]], None]
"""Called with the run, the wave (counted from 1) and its outcomes; raises to stop the run."""


def build_health_check(plugins: Iterable[LoadedPlugin]) -> CheckHealth:
    """Return a function that calls every plugin's ``check_fleet``."""
    manager = pluggy.PluginManager("confiture")
    manager.add_hookspecs(spec)
    for plugin in plugins:
        if "check_fleet" in plugin.phases:
            manager.register(plugin.plugin, plugin.name)

    def check(run: int, wave: int, outcomes: Sequence[TargetOutcome]) -> None:
        manager.hook.check_fleet(run=run, wave=wave, outcomes=outcomes)

    return check
