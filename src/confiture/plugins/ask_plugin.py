"""Ask one plugin what it adds: rules, sources, executors."""

from __future__ import annotations

from typing import Any

import pluggy

from confiture.exceptions import describe_error
from confiture.hooks import spec
from confiture.plugins.check import locate_error
from confiture.plugins.load import LoadedPlugin


def ask_plugin(plugin: LoadedPlugin, hook: str) -> tuple[list[Any], list[str]]:
    """Return what a plugin's hook returns, and a sentence if it failed; nothing if it has no such hook."""
    if hook not in plugin.phases:
        return [], []
    # pluggy joins the answers of all plugins without their names. One manager per plugin keeps the name for
    # the error messages.
    manager = pluggy.PluginManager("confiture")
    manager.add_hookspecs(spec)
    manager.register(plugin.plugin, plugin.name)
    try:
        return [value for given in getattr(manager.hook, hook)() for value in given], []
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = f"{hook}() failed with {describe_error(error)}{locate_error(error)}"
        return [], [f"plugin {plugin.name!r}: {what}"]
