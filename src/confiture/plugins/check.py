"""Check a plugin before any hook is called, and report every fault at once, as sentences."""

from __future__ import annotations

import importlib
import inspect
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pluggy
from attrs import Factory, define, frozen

from confiture.config.table_reader import FLAG, Kind, TableReader, make_choice
from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault, describe_error
from confiture.hooks import spec
from confiture.hooks.api import HookPhase
from confiture.plugins.plugin_settings import RUNNERS_KEYS, locate_settings

PHASES = tuple(phase.spec for phase in HookPhase)
HOOKS = tuple(name for name, value in vars(spec).items() if hasattr(value, "confiture_spec"))
"""The phases, then the other hooks, such as ``reporters`` and ``rules``."""


@frozen
class PluginCheck:
    """The result of checking a plugin.

    Attributes:
        phases: The hooks it implements: phases in the order of a migration, then other hooks.
        faults: Why it cannot be used, as sentences; empty if it can.
    """

    phases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def check_plugin(plugin: object, value: str) -> PluginCheck:
    """Return the hooks of ``plugin``, which was imported from ``value``, and all its faults."""
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
        # pluggy passes only arguments without a default, and drops the others without a word.
        yield f"has a default for its argument {name!r}, which would never be passed; remove the default"
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
    """Return `` (file:line)`` of a function; an empty string if it has no source."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""


_OWN_FOLDER = f"{Path(__file__).parents[1]}{os.sep}"


def locate_error(error: BaseException) -> str:
    """Return `` (file:line)`` of the innermost frame outside confiture; an empty string if there is none."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})" if error.filename else ""
    own, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != importlib.__file__ and not file.startswith(("<", _OWN_FOLDER)):
            own = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return own


POLICIES = ("abort", "continue")


def read_declared_keys(plugin: object) -> tuple[str, ...] | None:
    """Return the keys that the plugin declares in ``config_keys``; ``None`` if it declares none.

    Raises:
        TypeError: ``config_keys`` is neither a list of names nor a mapping from names to descriptions.
    """
    keys = getattr(plugin, "config_keys", None)
    if keys is None:
        return None
    # A string is iterable too: its characters would count as the names.
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise TypeError(f"config_keys must be a list of names, not {type(keys).__name__}")
    names = tuple(keys)
    if not all(isinstance(name, str) for name in names):
        raise TypeError("config_keys must contain only names")
    return names


def find_table_faults(name: str, keys: tuple[str, ...] | None, table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the faults of ``[tool.confiture.plugin.NAME]``; without ``keys``, any key is allowed."""
    reader = locate_settings(table, name, dict.fromkeys(keys or (), ""))
    unknown = () if keys is None else reader.find_unknown_keys(also=RUNNERS_KEYS)
    return tuple(f"{fault.message}; {fault.hint}" for fault in (*unknown, *_find_unusable(reader)))


def _find_unusable(table: TableReader) -> Iterator[ConfigurationFault]:
    """Yield the faults of the keys that every plugin's table may have: ``on_failure`` and ``retry``."""
    kinds: dict[str, Kind[Any]] = {"on_failure": make_choice(*POLICIES), "retry": FLAG}
    for key, kind in kinds.items():
        try:
            table.get(key, kind, None)
        except ConfigurationFault as fault:
            yield fault


@define
class PluginReading:
    """The attributes of a plugin that are marked ``@hookimpl``.

    Attributes:
        functions: Its hooks, by attribute name.
        options: The options of each ``@hookimpl``, by attribute name.
        faults: The attributes that could not be read or used, as sentences.
    """

    functions: dict[str, Callable[..., object]] = Factory(dict)
    options: dict[str, pluggy.HookimplOpts] = Factory(dict)
    faults: list[str] = Factory(list)


def read_plugin(plugin: object) -> PluginReading:
    """Read every attribute of ``plugin`` once; if reading one raises an error, that is a fault."""
    reading = PluginReading()
    parse = pluggy.PluginManager("confiture").parse_hookimpl_opts
    for attribute in _list_attributes(plugin, reading):
        try:
            value = getattr(plugin, attribute)
            options = parse(plugin, attribute)
        except KeyboardInterrupt:
            raise
        # A plugin may even call sys.exit() in a property; the other plugins must still be checked.
        except BaseException as error:
            if not _is_empty_slot(plugin, attribute):
                reading.faults.append(f"reading its attribute {attribute!r} raises {describe_error(error)}")
            continue
        if options is not None:
            reading.functions[attribute], reading.options[attribute] = value, options
        elif _is_marked(value) or _is_marked(inspect.getattr_static(plugin, attribute, None)):
            kind = type(inspect.getattr_static(plugin, attribute, value)).__name__
            reading.faults.append(
                f"{attribute!r} is marked @hookimpl and is not a function but a {kind}, "
                "which would never be called"
            )
    return reading


def _is_marked(value: object) -> bool:
    # getattr_static runs no code: a plugin may have imported a lazy proxy, which getattr would load.
    return isinstance(inspect.getattr_static(value, "confiture_impl", None), dict)


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
    # An attribute in __slots__ that was never set raises AttributeError, which is no fault of the plugin.
    return isinstance(inspect.getattr_static(plugin, attribute, None), types.MemberDescriptorType)


class StandIn:
    """An object with the hooks of a plugin only: pluggy needs plugins to be hashable and not equal."""

    def __init__(self, reading: PluginReading) -> None:
        self.__dict__.update(reading.functions)
        self._marked_with = reading.options


class HookReader(pluggy.PluginManager):
    """Registers plugins without calling them, to learn in which order pluggy would call them."""

    def __init__(self) -> None:
        super().__init__("confiture")

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register a stand-in for ``plugin``; see :meth:`pluggy.PluginManager.register`."""
        return super().register(plugin if isinstance(plugin, StandIn) else StandIn(read_plugin(plugin)), name)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return the options with which the plugin's attribute was marked."""
        return plugin._marked_with.get(name) if isinstance(plugin, StandIn) else None


def list_implementations(reading: PluginReading) -> tuple[tuple[str, pluggy.HookImpl], ...]:
    """Return the name of each hook with pluggy's value for its implementation."""
    # Without hookspecs: with them, pluggy would raise an error at the first fault.
    reader, stand_in = HookReader(), StandIn(reading)
    reader.register(stand_in, "plugin")
    callers = reader.get_hookcallers(stand_in) or []
    return tuple((caller.name, impl) for caller in callers for impl in caller.get_hookimpls())
