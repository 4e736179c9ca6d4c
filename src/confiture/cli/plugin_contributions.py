"""Check the rules and the formats that plugins add, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def find_contribution_faults(loaded: Sequence[LoadedPlugin]) -> tuple[str, ...]:
    """Return a sentence for each rule and each format that cannot be used, and for a hook that raises."""
    faults: list[str] = []
    # Imported only if there is something to check: most plugins have hooks only.
    if any("rules" in plugin.phases for plugin in loaded):
        from confiture.rules.registry import find_rules

        faults += find_rules(loaded)[1]
    if any("reporters" in plugin.phases for plugin in loaded):
        from confiture.output.collect_reporters import find_reporters

        faults += find_reporters(loaded)[1]
    return tuple(faults)
