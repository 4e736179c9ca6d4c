"""Which plugins take part, as flags and configuration say; loaded and sound, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from confiture.cli.explaining import say
from confiture.cli.flags import Flags
from confiture.config import Settings
from confiture.output.words import inert

if TYPE_CHECKING:
    from confiture.plugins.loading import Loaded


@contextmanager
def loaded(settings: Settings, flags: Flags) -> Iterator[tuple[Loaded, ...]]:
    """Lend the plugins to use; when all is done, name in one line those installed and not used.

    Raises:
        ConfitureError: One is unknown, not as pinned, or broken; every fault of all is named.
    """
    from confiture.plugins.choosing import choose
    from confiture.plugins.finding import find
    from confiture.plugins.loading import load_all

    chosen = choose(find(), settings.plugins, flags.plugins, flags.no_plugins, flags.locked)
    yield load_all(chosen, settings.plugin_tables)
    if chosen.unused and not flags.quiet and not flags.no_plugins:
        names = ", ".join(inert(each.name) for each in chosen.unused)
        say([f"installed but not used: {names}  (--plugins uses all)"])
