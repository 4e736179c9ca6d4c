"""Collect the rules of confiture and of the plugins through one hook."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve

from confiture.config.table_reader import LocatedTable
from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault, PluginFault
from confiture.rules import builtin_rules as builtin
from confiture.rules.rule import SEVERITIES, Rule, Severity
from confiture.sql.parser import list_alter_commands, list_statement_kinds

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def collect_rules(plugins: Iterable[LoadedPlugin] = ()) -> tuple[Rule, ...]:
    """Return the built-in rules and those of the plugins, in that order.

    Raises:
        PluginFault: A plugin's rules cannot be used; the message has every fault of every plugin.
    """
    rules, faults = find_rules(plugins)
    if faults:
        from confiture.plugins.load import join_faults

        raise PluginFault(join_faults(faults), hint="fix the plugin, or remove it from --plugins")
    return rules


def find_rules(plugins: Iterable[LoadedPlugin]) -> tuple[tuple[Rule, ...], list[str]]:
    """Return the rules that can be used, and a sentence for each fault of a plugin's rules."""
    found = {rule.id: rule for rule in builtin.rules()}
    faults: list[str] = []
    for plugin in plugins:
        given, wrong = _ask_for_rules(plugin)
        faults += wrong
        for rule in given:
            if unusable := tuple(_find_rule_faults(rule, found)):
                faults += (f"plugin {plugin.name!r}: {fault}" for fault in unusable)
            else:
                found[rule.id] = evolve(rule, plugin=plugin.name)
    return tuple(found.values()), faults


def _ask_for_rules(plugin: LoadedPlugin) -> tuple[list[Any], list[str]]:
    # Imported here: most runs use no plugin.
    from confiture.plugins.ask_plugin import ask_plugin

    return ask_plugin(plugin, "rules")


def _find_rule_faults(rule: Any, found: Mapping[str, Rule]) -> Iterator[str]:
    """Yield why a value from a plugin's hook is no rule to use."""
    if not isinstance(rule, Rule):
        yield f"rules() returns a {type(rule).__name__} among its rules, not a confiture.rules.rule.Rule"
        return
    from confiture.plugins.check import locate_function

    where = locate_function(rule.check or rule.check_migration or rule.check_schema or (lambda: None))
    if rule.id in found:
        owner = found[rule.id].plugin or "confiture"
        yield f"the rule id {rule.id!r} is already used by {owner!r}"
    yield from _find_unknown_names(rule, "kinds", rule.kinds, list_statement_kinds(), where)
    yield from _find_unknown_names(rule, "subcommands", rule.subcommands, list_alter_commands(), where)
    yield from _find_unknown_keys(rule, where)


def _find_unknown_keys(rule: Rule, where: str) -> Iterator[str]:
    from confiture.config.schema_policy import POLICY_KEYS

    for key in rule.needs:
        if key not in POLICY_KEYS:
            fault = f"rule {rule.id!r}: needs has {key!r}, which [tool.confiture.schema] has not{where}"
            near = did_you_mean(key, POLICY_KEYS)
            yield f"{fault}; {near}" if near else fault


def _find_unknown_names(
    rule: Rule, what: str, names: Iterable[str], known: Collection[str], where: str
) -> Iterator[str]:
    """Yield the names that the parser gives no statement: such a rule would never be asked."""
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            fault = f"rule {rule.id!r}: {what} has {name!r}, which no parser knows{where}"
            yield f"{fault}; {near}" if near else fault


def read_severities(given: Mapping[str, object], rules: Iterable[Rule]) -> dict[str, Severity]:
    """Read ``severity = {rule = "warning"}``.

    Raises:
        ConfigurationFault: A rule or a severity does not exist; it names file and line if they are known.
    """
    known = [rule.id for rule in rules]
    for rule, value in given.items():
        place = f"{given.locate(('gate', 'severity', rule))}: " if isinstance(given, LocatedTable) else ""
        if rule not in known:
            near = did_you_mean(rule, known)
            raise ConfigurationFault(
                f"{place}severity names the rule {rule!r}, which does not exist",
                hint=f"{near} list all rules: confiture rules".strip(),
            )
        if value not in SEVERITIES:
            raise ConfigurationFault(
                f"{place}the severity of {rule} is {value!r}", hint=f"use one of {', '.join(SEVERITIES)}"
            )
    return cast("dict[str, Severity]", dict(given))
