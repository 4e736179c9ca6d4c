"""Checked: every fault of a plugin, in sentences, before any hook is called."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pluggy
from attrs import Factory, define, frozen

from confiture.config.table_reader import FLAG, Kind, TableReader, make_choice
from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault
from confiture.hooks import spec
from confiture.hooks.api import HookPhase
from confiture.plugins.plugin_settings import RUNNERS_KEYS, locate_settings

PHASES = tuple(phase.spec for phase in HookPhase)
HOOKS = tuple(name for name, value in vars(spec).items() if hasattr(value, "confiture_spec"))
"""The phases, and what else a plugin may give."""


@frozen
class PluginCheck:
    """What a plugin object turned out to be.

    Attributes:
        phases: Those it has hooks for, in the order of a migration; last what else it gives.
        faults: Why it cannot be used, in sentences.
    """

    phases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def check_plugin(plugin: object, value: str) -> PluginCheck:
    """Return the phases of ``plugin``, imported from ``value``, and everything that is wrong with it."""
    if inspect.isclass(plugin):
        wrong = f"{value} is a class, not an instance; name an instance of it, plugin = {plugin.__name__}()"
        return PluginCheck(faults=(wrong,))
    reading = read_plugin(plugin)
    hooks = list_implementations(reading)
    faults = [*reading.faults, *(fault for phase, impl in hooks for fault in _find_faults(phase, impl))]
    if not hooks and not faults:
        faults.append(_explain_no_hooks(plugin, value))
    found = {phase for phase, _ in hooks}
    return PluginCheck(tuple(hook for hook in HOOKS if hook in found), tuple(faults))


def _explain_no_hooks(plugin: object, value: str) -> str:
    unmarked = [phase for phase in HOOKS if inspect.isroutine(inspect.getattr_static(plugin, phase, None))]
    if unmarked:
        return f"{value} has no hooks: {', '.join(unmarked)} is not marked @hookimpl"
    kind = "module" if inspect.ismodule(plugin) else type(plugin).__name__
    return f"{value} has no hooks: it is a {kind} without a function marked @hookimpl"


def _find_faults(phase: str, impl: pluggy.HookImpl) -> Iterator[str]:
    where = locate_function(impl.function)
    if phase in HOOKS:
        wrongs = (*_find_argument_faults(phase, impl), *_find_kind_faults(impl))
        yield from (f"{_name_hook(phase, impl)} {wrong}{where}" for wrong in wrongs)
    elif not impl.optionalhook:
        near = did_you_mean(phase, HOOKS) or f"the hooks are {', '.join(HOOKS)}"
        yield f"{_name_hook(phase, impl)} is not a hook{where}; {near}"


def _name_hook(phase: str, impl: pluggy.HookImpl) -> str:
    name = getattr(impl.function, "__name__", phase)
    return f"{name}()" if name == phase else f"{name}() for {phase}"


def _find_argument_faults(phase: str, impl: pluggy.HookImpl) -> Iterator[str]:
    given = tuple(inspect.signature(getattr(spec, phase)).parameters)
    for name in impl.argnames:
        if name not in given:
            near = did_you_mean(name, given) or f"it is given {', '.join(given) or 'none'}"
            yield f"has an unknown argument {name!r}, {near}"
    for name in impl.kwargnames:
        yield f"has a default for its argument {name!r}, which would never be passed; take the default away"
    yield from _list_never_passed(impl.function)


def _list_never_passed(function: Callable[..., object]) -> Iterator[str]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            yield f"has a keyword-only argument {name!r}, which would never be passed"
        elif parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            yield f"has an argument {str(parameter).partition(':')[0]!r}, which would stay empty; name them"


def _find_kind_faults(impl: pluggy.HookImpl) -> Iterator[str]:
    function = impl.function
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield "is async def, and nothing would await it"
    elif impl.wrapper and not inspect.isgeneratorfunction(function):
        yield "is marked as a wrapper and does not yield"
    if impl.hookwrapper:
        yield "is marked hookwrapper, pluggy's old style; write wrapper=True, and return what yield returns"


def locate_function(function: Callable[..., object]) -> str:
    """Return `` (file:line)`` of a function, or nothing where it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""


POLICIES = ("abort", "continue")


def read_declared_keys(plugin: object) -> tuple[str, ...] | None:
    """Return the keys in the plugin's ``config_keys``, ``None`` where it declares none.

    Raises:
        TypeError: It is neither names nor a mapping of names to what they mean.
    """
    keys = getattr(plugin, "config_keys", None)
    if keys is None:
        return None
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise TypeError(f"config_keys is to be a list of names, not a {type(keys).__name__}")
    names = tuple(keys)
    if not all(isinstance(name, str) for name in names):
        raise TypeError("config_keys is to hold names only")
    return names


def find_table_faults(name: str, keys: tuple[str, ...] | None, table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with ``[tool.confiture.plugin.NAME]``; a plugin without ``keys`` reads any."""
    reader = locate_settings(table, name, dict.fromkeys(keys or (), ""))
    unknown = () if keys is None else reader.find_unknown_keys(also=RUNNERS_KEYS)
    return tuple(f"{fault.message}; {fault.hint}" for fault in (*unknown, *_find_unusable(reader)))


def _find_unusable(table: TableReader) -> Iterator[ConfigurationFault]:
    """Yield the faults of the keys that the runner reads in every plugin's table."""
    kinds: dict[str, Kind[Any]] = {"on_failure": make_choice(*POLICIES), "retry": FLAG}
    for key, kind in kinds.items():
        try:
            table.get(key, kind, None)
        except ConfigurationFault as fault:
            yield fault


@define
class PluginReading:
    """What was read of one plugin.

    Attributes:
        functions: Its hooks, by attribute.
        options: What each was marked with, by attribute.
        faults: What could not be read, in sentences.
    """

    functions: dict[str, Callable[..., object]] = Factory(dict)
    options: dict[str, pluggy.HookimplOpts] = Factory(dict)
    faults: list[str] = Factory(list)


def read_plugin(plugin: object) -> PluginReading:
    """Look at every attribute of ``plugin`` once; one that raises becomes a fault."""
    reading = PluginReading()
    parse = pluggy.PluginManager("confiture").parse_hookimpl_opts
    for attribute in _list_attributes(plugin, reading):
        try:
            value = getattr(plugin, attribute)
            options = parse(plugin, attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not _is_empty_slot(plugin, attribute):
                reading.faults.append(f"reading its attribute {attribute!r} raises {describe_error(error)}")
            continue
        if options is not None:
            reading.functions[attribute], reading.options[attribute] = value, options
        elif _is_marked(value) or _is_marked(inspect.getattr_static(plugin, attribute, None)):
            kind = type(inspect.getattr_static(plugin, attribute, value)).__name__
            reading.faults.append(
                f"{attribute!r} is marked @hookimpl and is no function but a {kind}, "
                "which would never be called"
            )
    return reading


def _is_marked(value: object) -> bool:
    # Statically: a lazy object, imported by a plugin for its own use, is not to be woken.
    return isinstance(inspect.getattr_static(value, "confiture_impl", None), dict)


def describe_error(error: BaseException) -> str:
    """Return the type and the message of ``error``, on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _list_attributes(plugin: object, reading: PluginReading) -> Iterator[str]:
    try:
        names = dir(plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reading.faults.append(f"listing its attributes raises {describe_error(error)}")
        return
    yield from (name for name in names if not name.startswith("__"))


def _is_empty_slot(plugin: object, attribute: str) -> bool:
    return isinstance(inspect.getattr_static(plugin, attribute, None), types.MemberDescriptorType)


class StandIn:
    """A plugin's hooks and nothing else of it, so that equal and unhashable plugins stay apart."""

    def __init__(self, reading: PluginReading) -> None:
        self.__dict__.update(reading.functions)
        self._marked_with = reading.options


class HookReader(pluggy.PluginManager):
    """Registers plugins to be looked at, as pluggy would order them to be called."""

    def __init__(self) -> None:
        super().__init__("confiture")

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register what stands in for ``plugin``; see :meth:`pluggy.PluginManager.register`."""
        return super().register(plugin if isinstance(plugin, StandIn) else StandIn(read_plugin(plugin)), name)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return what the plugin's own attribute was marked with."""
        return plugin._marked_with.get(name) if isinstance(plugin, StandIn) else None


def list_implementations(reading: PluginReading) -> tuple[tuple[str, pluggy.HookImpl], ...]:
    """Return each hook's spec name with what pluggy makes of it."""
    # Without specs: pluggy's own validation stops at the first fault, and all of them are wanted.
    reader, stand_in = HookReader(), StandIn(reading)
    reader.register(stand_in, "plugin")
    callers = reader.get_hookcallers(stand_in) or []
    return tuple((caller.name, impl) for caller in callers for impl in caller.get_hookimpls())
