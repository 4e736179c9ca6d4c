"""The reporters that come with confiture, registered as a plugin registers its own."""

from __future__ import annotations

from collections.abc import Callable

from confiture.hooks.spec import hookimpl
from confiture.models.report import Report
from confiture.output import FORMATS, reporter
from confiture.output.reporters import BUILT_IN, Reporter, built_in


@hookimpl
def reporters() -> list[Reporter]:
    """Return every built-in one."""
    return [built_in(name) if name in BUILT_IN else _plain(name) for name in FORMATS]


def _plain(name: str) -> Reporter:
    render: Callable[[Report], str] = reporter(name, "report")
    return Reporter(name, lambda report, _: render(report))
