"""What the plugin's table of the configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture_analyze.faults import Misconfigured

CONFIG_KEYS = {
    "analyze": "Whether what a migration changed is analyzed after its commit; true where tables are named.",
    "tables": "The only ones that are looked at; without them whatever a migration changed.",
    "exact_rows": "Whether the rows of these are counted, not estimated: reads them twice.",
}
_PLACE = "plugin.analyze"


@frozen
class Configured:
    """What is asked for.

    Attributes:
        on: Whether anything is done.
        tables: The only ones that are looked at; empty: whatever was changed.
        exact_rows: Whether rows are counted.
    """

    on: bool
    tables: tuple[str, ...]
    exact_rows: bool


def configured(config: Mapping[str, Any]) -> Configured:
    """Return what is asked for.

    Raises:
        Misconfigured: Something is not usable; its key is named.
    """
    tables = config.get("tables", [])
    if not isinstance(tables, list) or not all(isinstance(table, str) and table for table in tables):
        raise Misconfigured(f"{_PLACE}.tables is not usable", hint="expected is a list of names in quotes")
    exact = _flag(config, "exact_rows", False)
    if exact and not tables:
        raise Misconfigured(
            f"{_PLACE}.exact_rows needs {_PLACE}.tables",
            hint="name the tables whose rows are to be counted: which others change is not known before",
        )
    return Configured(_flag(config, "analyze", bool(tables)), tuple(tables), exact)


def _flag(config: Mapping[str, Any], key: str, otherwise: bool) -> bool:
    value = config.get(key, otherwise)
    if not isinstance(value, bool):
        raise Misconfigured(f"{_PLACE}.{key} is not usable", hint="expected is true or false")
    return value
