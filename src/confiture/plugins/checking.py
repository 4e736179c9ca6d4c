"""Checked: every fault of a plugin, in sentences, before any hook is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pluggy
from attrs import frozen

from confiture.core.hooks import HookPhase
from confiture.plugins import spec
from confiture.plugins.nearest import did_you_mean
from confiture.plugins.reading import implementations, read

PHASES = tuple(phase.spec for phase in HookPhase)
HOOKS = tuple(name for name, value in vars(spec).items() if hasattr(value, "confiture_spec"))
"""The phases, and what else a plugin may give."""


@frozen
class Checked:
    """What a plugin object turned out to be.

    Attributes:
        phases: Those it has hooks for, in the order of a migration; last what else it gives.
        faults: Why it cannot be used, in sentences.
    """

    phases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def check(plugin: object, value: str) -> Checked:
    """Return the phases of ``plugin``, imported from ``value``, and everything that is wrong with it."""
    if inspect.isclass(plugin):
        wrong = f"{value} is a class, not an instance; name an instance of it, plugin = {plugin.__name__}()"
        return Checked(faults=(wrong,))
    reading = read(plugin)
    hooks = implementations(reading)
    faults = [*reading.faults, *(fault for phase, impl in hooks for fault in _faults(phase, impl))]
    if not hooks and not faults:
        faults.append(_no_hooks(plugin, value))
    found = {phase for phase, _ in hooks}
    return Checked(tuple(hook for hook in HOOKS if hook in found), tuple(faults))


def _no_hooks(plugin: object, value: str) -> str:
    unmarked = [phase for phase in HOOKS if inspect.isroutine(inspect.getattr_static(plugin, phase, None))]
    if unmarked:
        return f"{value} has no hooks: {', '.join(unmarked)} is not marked @hookimpl"
    kind = "module" if inspect.ismodule(plugin) else type(plugin).__name__
    return f"{value} has no hooks: it is a {kind} without a function marked @hookimpl"


def _faults(phase: str, impl: pluggy.HookImpl) -> Iterator[str]:
    where = location(impl.function)
    if phase in HOOKS:
        wrongs = (*_argument_faults(phase, impl), *_kind_faults(impl))
        yield from (f"{_shown(phase, impl)} {wrong}{where}" for wrong in wrongs)
    elif not impl.optionalhook:
        near = did_you_mean(phase, HOOKS) or f"the hooks are {', '.join(HOOKS)}"
        yield f"{_shown(phase, impl)} is not a hook{where}; {near}"


def _shown(phase: str, impl: pluggy.HookImpl) -> str:
    name = getattr(impl.function, "__name__", phase)
    return f"{name}()" if name == phase else f"{name}() for {phase}"


def _argument_faults(phase: str, impl: pluggy.HookImpl) -> Iterator[str]:
    given = tuple(inspect.signature(getattr(spec, phase)).parameters)
    for name in impl.argnames:
        if name not in given:
            near = did_you_mean(name, given) or f"it is given {', '.join(given) or 'none'}"
            yield f"has an unknown argument {name!r}, {near}"
    for name in impl.kwargnames:
        yield f"has a default for its argument {name!r}, which would never be passed; take the default away"
    yield from _never_passed(impl.function)


def _never_passed(function: Callable[..., object]) -> Iterator[str]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            yield f"has a keyword-only argument {name!r}, which would never be passed"
        elif parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            yield f"has an argument {str(parameter).partition(':')[0]!r}, which would stay empty; name them"


def _kind_faults(impl: pluggy.HookImpl) -> Iterator[str]:
    function = impl.function
    wrapper = impl.wrapper or impl.hookwrapper
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield "is async def, and nothing would await it"
    elif wrapper and not inspect.isgeneratorfunction(function):
        yield "is marked as a wrapper and does not yield"
    if impl.wrapper and impl.hookwrapper:
        yield "is marked both wrapper and hookwrapper"


def location(function: Callable[..., object]) -> str:
    """Return `` (file:line)`` of a function, or nothing where it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
