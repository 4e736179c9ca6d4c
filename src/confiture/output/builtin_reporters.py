"""Register the built-in reporters with the same hook that plugins use."""

from __future__ import annotations

from collections.abc import Callable

from confiture.hooks.spec import hookimpl
from confiture.models.report import Report
from confiture.output import FORMATS, load_renderer
from confiture.output.reporters import BUILTIN_FORMATS, Reporter, load_builtin_reporter


@hookimpl
def reporters() -> list[Reporter]:
    """Return every built-in reporter."""
    return [
        load_builtin_reporter(name) if name in BUILTIN_FORMATS else _build_reporter(name) for name in FORMATS
    ]


def _build_reporter(name: str) -> Reporter:
    render: Callable[[Report], str] = load_renderer(name, "report")
    return Reporter(name, lambda report, _: render(report))
