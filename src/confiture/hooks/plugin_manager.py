"""A pluggy manager whose every implementation runs inside the guard."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from types import SimpleNamespace
from typing import Any

import pluggy

from confiture.exceptions import PluginFault
from confiture.hooks import spec
from confiture.hooks.api import HookPhase
from confiture.hooks.guard import Guard
from confiture.hooks.implementation import HookImplementation


class GuardedPluginManager(pluggy.PluginManager):
    """Registers a stand-in for each plugin: the same functions, each in the guard of its phase.

    Attributes:
        guard: That of the phase that is running.
        tables: The plugins' configuration, by name.
    """

    guard: Guard

    def __init__(self, tables: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__("confiture")
        self.add_hookspecs(spec)
        self.tables = tables or {}

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register what stands in for ``plugin``; see :meth:`pluggy.PluginManager.register`."""
        name = name or self.get_canonical_name(plugin)
        stand_in = SimpleNamespace()
        for attribute in dir(plugin):
            options = self.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                if options["hookwrapper"]:
                    raise PluginFault(
                        f"{name}: {attribute}() is marked hookwrapper, pluggy's old style",
                        hint="write wrapper=True, and return what yield returns",
                    )
                function = getattr(plugin, attribute)
                ref = self._make_implementation(name, options["specname"] or attribute, function)
                if ref is None:
                    if not options["optionalhook"]:  # pluggy's own check names it
                        setattr(stand_in, attribute, function)
                    continue
                setattr(stand_in, attribute, _guard_function(self, ref, function, options))
        return super().register(stand_in, name)

    def register_hook(self, hook: Any, phase: HookPhase, name: str) -> str | None:
        """Register a ``Hook`` of a migration's own list, for as long as that migration runs."""
        ref = HookImplementation(phase, None, type(hook).__name__)
        function: Callable[..., Any] = lambda conn, context: hook.execute(conn, context)  # noqa: E731
        # trylast: each one registered later is called later, and all of them after the plugins'.
        stand_in = SimpleNamespace(**{phase.spec: _guard_function(self, ref, function, {"trylast": True})})
        return super().register(stand_in, name)

    def _make_implementation(
        self, plugin: str, phase: str, function: Callable[..., Any]
    ) -> HookImplementation | None:
        known = phase.upper() in HookPhase.__members__
        name = getattr(function, "__qualname__", type(function).__name__)
        return (
            HookImplementation(HookPhase.of(phase), plugin, name, self.tables.get(plugin, {}))
            if known
            else None
        )


def _guard_function(
    manager: GuardedPluginManager,
    ref: HookImplementation,
    function: Callable[..., Any],
    options: Mapping[str, Any],
) -> Callable[..., Any]:
    if options.get("wrapper"):

        @functools.wraps(function)
        def wrapper(*args: Any) -> Generator[Any, Any, Any]:
            return (yield from manager.guard.wrap(ref, function(*args)))

        return _mark_function(wrapper, options)

    @functools.wraps(function)
    def call_in_guard(*args: Any) -> Any:
        return manager.guard.call(ref, lambda: function(*args))

    return _mark_function(call_in_guard, options)


def _mark_function(function: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    # Marked again: above a @staticmethod the mark is not on the function, where `wraps` looks.
    marked: Callable[..., Any] = spec.hookimpl(**options)(function)
    return marked
