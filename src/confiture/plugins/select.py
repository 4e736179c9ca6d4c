"""Select which of the installed plugins are used, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault, PluginFault, PluginNotFound, UsageFault
from confiture.plugins.find import FoundPlugin

ALL: Final = "*"
"""The value of ``--plugins`` without names: all installed plugins."""


@frozen
class PluginSelection:
    """The plugins of one run.

    Attributes:
        used: The plugins to use, in the order in which they are listed.
        unused: The other installed plugins, sorted by name.
    """

    used: tuple[FoundPlugin, ...] = ()
    unused: tuple[FoundPlugin, ...] = ()


@frozen
class Pin:
    """One entry of ``plugins = [...]``; ``version`` is ``None`` if any version is allowed."""

    name: str
    version: str | None = None


def select_plugins(
    found: tuple[FoundPlugin, ...],
    configured: Sequence[str] | None = None,
    flag: str | None = None,
    none: bool = False,
    locked: bool = False,
) -> PluginSelection:
    """Return the plugins to use, and the installed ones that are not used.

    Args:
        found: The installed plugins.
        configured: The value of ``plugins = [...]``; ``None`` if it is not set.
        flag: The value of ``--plugins``; :data:`ALL` without names, ``None`` if it was not given.
        none: True if ``--no-plugins`` was given.
        locked: True if ``--locked`` was given.

    Raises:
        PluginFault: ``--plugins`` has an empty or repeated name, or the installed plugins differ from the
            pins.
        PluginNotFound: A plugin is not installed.
        ConfigurationFault: The configured list is not valid.
        UsageFault: ``--plugins`` and ``--no-plugins`` were both given.
    """
    if none and flag is not None:
        raise UsageFault("--plugins and --no-plugins cannot both be given", hint="leave one out")
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
            f"--plugins {flag!r} contains an empty name",
            hint="for all installed plugins, leave the names out; for none, use --no-plugins",
        )
    if twice := _find_repeated(names):
        raise PluginFault(f"--plugins names {twice} twice", hint="name each plugin once")
    return names


def parse_pins(configured: Sequence[str]) -> tuple[Pin, ...]:
    """Read ``plugins = ["name", "name==1.2"]``.

    Raises:
        ConfigurationFault: An entry has another form, or a name occurs twice.
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
            (
                "--locked: the installed plugins differ from plugins = [...] in the configuration:",
                *differences,
            )
        )
        installed = ", ".join(f'"{candidate.name}=={candidate.version}"' for candidate in found)
        raise PluginFault(
            lines, hint=f"install the pinned versions, or pin the installed ones: plugins = [{installed}]"
        )


def _find_pin_differences(found: tuple[FoundPlugin, ...], pinned: tuple[Pin, ...]) -> Iterable[str]:
    for pin in pinned:
        candidates = [candidate for candidate in found if candidate.name == pin.name]
        if not candidates:
            yield f"{pin.name!r} is listed, but not installed"
        if pin.version is None:
            yield f"{pin.name!r} is listed without a version"
            continue
        for candidate in candidates:
            if candidate.version != pin.version:
                yield f"{pin.name!r} is pinned to {pin.version}, but {candidate.version} is installed"


def _find_unpinned(found: tuple[FoundPlugin, ...], pinned: tuple[Pin, ...]) -> Iterable[str]:
    names = {pin.name for pin in pinned}
    return (
        f"{candidate.name!r} {candidate.version} is installed, but not listed"
        for candidate in found
        if candidate.name not in names
    )
