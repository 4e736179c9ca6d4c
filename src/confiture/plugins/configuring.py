"""What a plugin's table of the configuration may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confiture.plugins.nearest import did_you_mean

RUNNERS_KEYS = ("on_failure", "retry")
POLICIES = ("abort", "continue")


def declared_keys(plugin: object) -> tuple[str, ...] | None:
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


def table_faults(name: str, keys: tuple[str, ...] | None, table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with ``[tool.confiture.plugin.NAME]``; a plugin without ``keys`` reads any."""
    return (*_unknown(name, keys, table), *_runners(name, table))


def _unknown(name: str, keys: tuple[str, ...] | None, table: Mapping[str, Any]) -> Iterator[str]:
    if keys is None:
        return
    known = (*keys, *RUNNERS_KEYS)
    for key in table:
        if key not in known:
            near = did_you_mean(key, known) or f"the keys are {', '.join(known)}"
            yield f"plugin.{name} in the configuration has an unknown key {key!r}; {near}"


def _runners(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    # A value may be a password in the wrong place: it is never shown.
    if table.get("on_failure", "abort") not in POLICIES:
        yield f'plugin.{name}.on_failure in the configuration is neither "abort" nor "continue"'
    if not isinstance(table.get("retry", True), bool):
        yield f"plugin.{name}.retry in the configuration is neither true nor false"
