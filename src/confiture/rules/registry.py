"""Collect the rules of confiture and of the plugins through one hook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import pluggy

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault, PluginFault
from confiture.rules import builtin_rules as builtin
from confiture.rules.rule import SEVERITIES, Rule, Severity

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def collect_rules(plugins: Iterable[LoadedPlugin] = ()) -> tuple[Rule, ...]:
    """Return the built-in rules and those of the plugins, in that order.

    Raises:
        PluginFault: A plugin's hook raises, returns something that is not a rule, or returns a rule whose id
            is taken.
    """
    found: dict[str, tuple[Rule, str]] = {}
    for plugin, given in _ask_plugins(plugins):
        for rule in given:
            if not isinstance(rule, Rule):
                raise PluginFault(
                    f"plugin {plugin!r}: rules() returns a {type(rule).__name__} among its rules",
                    hint="return a list of confiture.rules.rule.Rule values",
                )
            if rule.id in found:
                raise PluginFault(
                    f"plugin {plugin!r}: the rule id {rule.id!r} is already used by {found[rule.id][1]!r}",
                    hint="give the plugin's rule another id",
                )
            found[rule.id] = (rule, plugin)
    return tuple(rule for rule, _ in found.values())


def _ask_plugins(plugins: Iterable[LoadedPlugin]) -> Iterable[tuple[str, list[Any]]]:
    from confiture.hooks import spec

    manager = pluggy.PluginManager("confiture")
    manager.add_hookspecs(spec)
    manager.register(builtin, "confiture")
    yield "confiture", manager.hook.rules()[0]
    for plugin in plugins:
        if "rules" in plugin.phases:
            # pluggy joins the answers of all plugins without their names. One manager per plugin keeps the
            # name for the error messages.
            manager = pluggy.PluginManager("confiture")
            manager.add_hookspecs(spec)
            manager.register(plugin.plugin, plugin.name)
            yield plugin.name, _ask_plugin(plugin, manager)


def _ask_plugin(plugin: LoadedPlugin, manager: pluggy.PluginManager) -> list[Any]:
    try:
        return [rule for given in manager.hook.rules() for rule in given]
    except Exception as error:
        raise PluginFault(
            f"plugin {plugin.name!r}: rules() failed with {type(error).__name__}: {error}",
            hint="fix the plugin or remove it from --plugins",
        ) from error


def read_severities(given: Mapping[str, object], rules: Iterable[Rule]) -> dict[str, Severity]:
    """Read ``severity = {rule = "warning"}``.

    Raises:
        ConfigurationFault: A rule or a severity does not exist.
    """
    known = [rule.id for rule in rules]
    for rule, value in given.items():
        if rule not in known:
            near = did_you_mean(rule, known)
            raise ConfigurationFault(
                f"severity names the rule {rule!r}, which does not exist",
                hint=f"{near} list all rules: confiture rules".strip(),
            )
        if value not in SEVERITIES:
            raise ConfigurationFault(
                f"the severity of {rule} is {value!r}", hint=f"use one of {', '.join(SEVERITIES)}"
            )
    return cast("dict[str, Severity]", dict(given))
