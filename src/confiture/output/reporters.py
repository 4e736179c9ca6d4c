"""Define a reporter: a name for ``--output`` and a function from a report to text."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from attrs import field, frozen

from confiture.models.report import Report

NO_APPENDED: Mapping[str, Render] = MappingProxyType({})


@frozen
class RenderContext:
    """The folders that make paths relative to the repository, as CI services expect them.

    Attributes:
        root: The top folder of the repository, absolute; if it is empty, paths are not changed.
        folder: The folder that the paths in the report are relative to, absolute.
    """

    root: str = ""
    folder: str = ""

    def path(self, file: str | None) -> str | None:
        """Return ``file`` relative to the repository; absolute if it is outside of it."""
        if file is None or not self.root:
            return file
        whole = posixpath.normpath(posixpath.join(self.folder or self.root, file))
        return whole.removeprefix(f"{self.root.rstrip('/')}/")


Render = Callable[[Report, RenderContext], str]


_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@frozen
class Reporter:
    """One format of reports.

    Attributes:
        name: The format's name for ``--output``.
        render: Returns the whole text; it must neither print nor connect.
        appended: Renderers of further texts; the key is the environment variable that names the file to which
            the text is appended.
        lines: True if the output can share stdout with the text report.
        plugin: The plugin that it comes from, which confiture sets; ``None`` if it is built in.
    """

    name: str
    render: Render
    appended: Mapping[str, Render] = field(default=NO_APPENDED)
    lines: bool = False
    plugin: str | None = None

    def __attrs_post_init__(self) -> None:
        """Check the fields: a plugin may pass anything."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            shown = repr(self.name) if isinstance(self.name, str) else f"a {type(self.name).__name__}"
            raise ValueError(f"the name of a reporter is {shown}: use letters, digits, dots, - and _")
        if not isinstance(self.appended, Mapping):
            kind = type(self.appended).__name__
            raise TypeError(f"reporter {self.name!r}: appended must be dict, not {kind}")
        for render in (self.render, *self.appended.values()):
            if not callable(render):
                kind = type(render).__name__
                raise TypeError(f"reporter {self.name!r}: it renders by a function, not {kind}")


BUILTIN_FORMATS = ("github", "gitlab", "sarif", "junit", "markdown")
"""Each format is a module of this package with the same name."""


def load_builtin_reporter(name: str) -> Reporter:
    """Return the reporter of one of ``BUILTIN_FORMATS``, importing only its module."""
    reporter: Reporter = import_module(f"confiture.output.{name}").REPORTER
    return reporter
