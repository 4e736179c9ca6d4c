"""Define a reporter: a name for ``--output`` and a function from the report to text."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from attrs import field, frozen

from confiture.models.report import Report

NO_APPENDED: Mapping[str, Render] = MappingProxyType({})


@frozen
class RenderContext:
    """Where a report is read: what makes a path one that its readers know.

    Attributes:
        root: The repository's top folder, absolute; empty if paths stay as they are.
        folder: The folder that the report's paths are relative to, absolute.
    """

    root: str = ""
    folder: str = ""

    def path(self, file: str | None) -> str | None:
        """Return ``file`` relative to the repository, as long as it lies in it."""
        if file is None or not self.root:
            return file
        whole = posixpath.normpath(posixpath.join(self.folder or self.root, file))
        return whole.removeprefix(f"{self.root.rstrip('/')}/")


Render = Callable[[Report, RenderContext], str]


@frozen
class Reporter:
    """One format of reports.

    Attributes:
        name: As ``--output`` gives it.
        render: Returns the whole text; it must neither print nor connect.
        appended: Further texts, by the environment variable that names the file to append each to.
        lines: True if its lines identify themselves, so that they can share stdout with text.
    """

    name: str
    render: Render
    appended: Mapping[str, Render] = field(default=NO_APPENDED)
    lines: bool = False


BUILTIN_FORMATS = ("github", "gitlab", "sarif", "junit", "markdown")
"""Each is the module of that name."""


def load_builtin_reporter(name: str) -> Reporter:
    """Return one of ``BUILTIN_FORMATS``; no other is imported for it."""
    reporter: Reporter = import_module(f"confiture.output.{name}").REPORTER
    return reporter
