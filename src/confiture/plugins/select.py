"""Chosen: which of the plugins found are to be used, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault, PluginFault, PluginNotFound, UsageFault
from confiture.plugins.find import FoundPlugin

ALL: Final = "*"
"""``--plugins`` without a value: all that are installed."""


@frozen
class PluginSelection:
    """The plugins of one run.

    Attributes:
        used: In the order in which they are listed.
        unused: Installed and left out, by name.
    """

    used: tuple[FoundPlugin, ...] = ()
    unused: tuple[FoundPlugin, ...] = ()


@frozen
class Pin:
    """One entry of ``plugins = [...]``; without ``version`` any will do."""

    name: str
    version: str | None = None


def select_plugins(
    found: tuple[FoundPlugin, ...],
    configured: Sequence[str] | None = None,
    flag: str | None = None,
    none: bool = False,
    locked: bool = False,
) -> PluginSelection:
    """Return what is to be used, and what is installed beside it.

    Args:
        found: What is installed.
        configured: ``plugins = [...]``, ``None`` where not set.
        flag: The value of ``--plugins``; :data:`ALL` without one, ``None`` where it was not given.
        none: Whether ``--no-plugins`` was given.
        locked: Whether ``--locked`` was given.

    Raises:
        PluginFault: The flag is empty, or what is installed differs from the pins.
        PluginNotFound: Some are not installed.
        ConfigurationFault: The configured list cannot be read.
        UsageFault: Both flags were given.
    """
    if none and flag is not None:
        raise UsageFault("--plugins and --no-plugins exclude each other", hint="give one of them")
    if locked:
        _compare(found, parse_pins(configured or ()))
    wanted = () if none else _list_wanted(found, configured, flag)
    _refuse_unknown(wanted, found)
    used = tuple(candidate for name in wanted for candidate in found if candidate.name == name)
    return PluginSelection(used, tuple(candidate for candidate in found if candidate.name not in wanted))


def _list_wanted(
    found: tuple[FoundPlugin, ...], configured: Sequence[str] | None, flag: str | None
) -> tuple[str, ...]:
    if flag is None:
        return tuple(pin.name for pin in parse_pins(configured or ()))
    if flag == ALL:
        return tuple(dict.fromkeys(candidate.name for candidate in found))
    names = tuple(name.strip() for name in flag.split(","))
    if not all(names):
        raise PluginFault(
            f"--plugins {flag!r} holds an empty name",
            hint="leave the value out to use all that are installed, or use none: --no-plugins",
        )
    if twice := _find_repeated(names):
        raise PluginFault(f"--plugins names {twice} twice", hint="name each plugin once")
    return names


def parse_pins(configured: Sequence[str]) -> tuple[Pin, ...]:
    """Read ``plugins = ["name", "name==1.2"]``.

    Raises:
        ConfigurationFault: An entry is neither of the two, or a name is there twice.
    """
    read = tuple(_parse_pin(entry) for entry in configured)
    if twice := _find_repeated(pin.name for pin in read):
        raise ConfigurationFault(f"plugins names {twice} twice", hint="name each plugin once")
    return read


def _parse_pin(entry: str) -> Pin:
    name, sep, version = (part.strip() for part in entry.partition("=="))
    if not name or (sep and not version) or set(name + version) & set("=<>~!*,"):
        raise ConfigurationFault(
            f"the plugins entry {entry!r} is neither a name nor name==version",
            hint='as in plugins = ["backfill", "guard==1.2"]',
        )
    return Pin(name, version or None)


def _find_repeated(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name, times in Counter(names).items() if times > 1)


def _refuse_unknown(wanted: tuple[str, ...], found: tuple[FoundPlugin, ...]) -> None:
    installed = {candidate.name for candidate in found}
    unknown = [name for name in wanted if name not in installed]
    if unknown:
        near = " ".join(filter(None, (did_you_mean(name, installed) for name in unknown)))
        raise PluginNotFound(*unknown, near=near)


def _compare(found: tuple[FoundPlugin, ...], pinned: tuple[Pin, ...]) -> None:
    differences = [*_find_pin_differences(found, pinned), *_find_unpinned(found, pinned)]
    if differences:
        lines = "\n  ".join(
            ("--locked: what is installed differs from plugins in the configuration:", *differences)
        )
        as_is = ", ".join(f'"{candidate.name}=={candidate.version}"' for candidate in found)
        raise PluginFault(
            lines, hint=f"install what is pinned, or pin what is installed: plugins = [{as_is}]"
        )


def _find_pin_differences(found: tuple[FoundPlugin, ...], pinned: tuple[Pin, ...]) -> Iterable[str]:
    for pin in pinned:
        those = [candidate for candidate in found if candidate.name == pin.name]
        if not those:
            yield f"{pin.name!r} is listed and not installed"
        if pin.version is None:
            yield f"{pin.name!r} is listed without a version"
            continue
        for candidate in those:
            if candidate.version != pin.version:
                yield f"{pin.name!r} is pinned to {pin.version}, installed is {candidate.version}"


def _find_unpinned(found: tuple[FoundPlugin, ...], pinned: tuple[Pin, ...]) -> Iterable[str]:
    names = {pin.name for pin in pinned}
    return (
        f"{candidate.name!r} {candidate.version} is installed and not listed"
        for candidate in found
        if candidate.name not in names
    )
