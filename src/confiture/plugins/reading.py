"""Read a plugin's hooks as pluggy sees them, without calling one."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator

import pluggy
from attrs import Factory, define


@define
class Reading:
    """What was read of one plugin.

    Attributes:
        functions: Its hooks, by attribute.
        options: What each was marked with, by attribute.
        faults: What could not be read, in sentences.
    """

    functions: dict[str, Callable[..., object]] = Factory(dict)
    options: dict[str, pluggy.HookimplOpts] = Factory(dict)
    faults: list[str] = Factory(list)


def read(plugin: object) -> Reading:
    """Look at every attribute of ``plugin`` once; one that raises becomes a fault."""
    reading = Reading()
    parse = pluggy.PluginManager("confiture").parse_hookimpl_opts
    for attribute in _attributes(plugin, reading):
        try:
            value = getattr(plugin, attribute)
            options = parse(plugin, attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not _is_empty_slot(plugin, attribute):
                reading.faults.append(f"reading its attribute {attribute!r} raises {said(error)}")
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


def said(error: BaseException) -> str:
    """Return the type and the message of ``error``, on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _attributes(plugin: object, reading: Reading) -> Iterator[str]:
    try:
        names = dir(plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reading.faults.append(f"listing its attributes raises {said(error)}")
        return
    yield from (name for name in names if not name.startswith("__"))


def _is_empty_slot(plugin: object, attribute: str) -> bool:
    return isinstance(inspect.getattr_static(plugin, attribute, None), types.MemberDescriptorType)


class StandIn:
    """A plugin's hooks and nothing else of it, so that equal and unhashable plugins stay apart."""

    def __init__(self, reading: Reading) -> None:
        self.__dict__.update(reading.functions)
        self._marked_with = reading.options


class HookReader(pluggy.PluginManager):
    """Registers plugins to be looked at, as pluggy would order them to be called."""

    def __init__(self) -> None:
        super().__init__("confiture")

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register what stands in for ``plugin``; see :meth:`pluggy.PluginManager.register`."""
        return super().register(plugin if isinstance(plugin, StandIn) else StandIn(read(plugin)), name)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return what the plugin's own attribute was marked with."""
        return plugin._marked_with.get(name) if isinstance(plugin, StandIn) else None


def implementations(reading: Reading) -> tuple[tuple[str, pluggy.HookImpl], ...]:
    """Return each hook's spec name with what pluggy makes of it."""
    # Without specs: pluggy's own validation stops at the first fault, and all of them are wanted.
    reader, stand_in = HookReader(), StandIn(reading)
    reader.register(stand_in, "plugin")
    callers = reader.get_hookcallers(stand_in) or []
    return tuple((caller.name, impl) for caller in callers for impl in caller.get_hookimpls())
