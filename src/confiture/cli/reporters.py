"""Reporters at work: those of plugins are found, and what they return is checked to be words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from confiture.cli.connecting import settings_of
from confiture.cli.flags import Flags
from confiture.exceptions import PluginFault, UsageFault
from confiture.output import FORMATS
from confiture.output.reporters import Render, RenderContext, Reporter


def by_plugin(wanted: str, format: str, flags: Flags) -> Reporter:
    """Return the reporter of that name of a plugin that takes part; plugins are imported only for this.

    Raises:
        ConfitureError: There is none, or the plugins cannot be used.
    """
    from confiture.plugins.choosing import choose
    from confiture.plugins.finding import find
    from confiture.plugins.loading import load_all
    from confiture.plugins.reporting import reporters_of

    settings = settings_of(flags)
    chosen = choose(find(), settings.plugins, flags.plugins, flags.no_plugins, flags.locked)
    found = reporters_of(load_all(chosen, settings.plugin_tables))
    if format not in found:
        raise UsageFault(
            f"--output {wanted}: there is no format {format!r}", hint=f"the formats are {', '.join(found)}"
        )
    return found[format]


def words(format: str, render: Render, value: Any) -> str:
    """Return what a reporter makes of a report.

    Raises:
        PluginFault: It raises, or returns something else than text.
    """
    hint = "mend the plugin that brings the format"
    try:
        text = render(value, surroundings())
    except Exception as error:
        if format in FORMATS:
            raise
        raise PluginFault(f"--output {format}: {type(error).__name__}: {error}", hint=hint) from error
    if not isinstance(text, str):
        raise PluginFault(f"--output {format}: a {type(text).__name__} is no text", hint=hint)
    return text


def surroundings() -> RenderContext:
    """Return where this is: the repository around the working directory, which paths are relative to."""
    here = Path.cwd()
    root = next((each for each in (here, *here.parents) if (each / ".git").exists()), here)
    return RenderContext(root.as_posix(), here.as_posix())
