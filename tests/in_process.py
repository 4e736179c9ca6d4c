"""Run ``confiture`` inside the test's own process, which costs a tenth of starting an interpreter.

What a process would have had to itself is lent to the command and put back afterwards: working directory,
environment, standard streams, the import path, structlog's configuration and the registry of hooks.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import structlog
from attrs import frozen

from confiture import logs
from confiture.cli import main
from confiture.hooks import hook_class


@frozen
class Output:
    """What a command left behind.

    Attributes:
        code: Its exit code.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    code: int
    out: str
    err: str


def run_in_process(
    arguments: Sequence[str], *, folder: Path, environ: Mapping[str, str], sites: Sequence[Path] = ()
) -> Output:
    """Run ``confiture ARGUMENTS`` in ``folder`` with exactly the environment ``environ``.

    ``sites`` are folders with installed packages, which a process would have on ``PYTHONPATH``.
    """
    with ExitStack() as stack:
        # Files and not StringIO: a command may ask for a stream's encoding or its descriptor.
        out, err = (stack.enter_context(TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(_environment(environ))
        stack.enter_context(_import_path(sites))
        stack.enter_context(_own_logging())
        stack.enter_context(_own_registry())
        stack.enter_context(_streams(out, err))
        code = main(arguments)
        return Output(code, _text(out), _text(err))


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _import_path(sites: Sequence[Path]) -> Iterator[None]:
    path, modules, bytecode = list(sys.path), dict(sys.modules), sys.dont_write_bytecode
    # Another test may have imported another package of the same name.
    offered = {entry.name.partition(".")[0] for site in sites for entry in site.iterdir()}
    for name in modules:
        if name.partition(".")[0] in offered:
            del sys.modules[name]
    sys.path[:0] = map(str, sites)
    # A plugin that a test writes twice within a second would else be read from its first bytecode.
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        for name in set(sys.modules) - set(modules):
            if name.startswith("confiture_migration_"):
                del sys.modules[name]
        for name in list(sys.modules):
            if name.partition(".")[0] in offered:
                del sys.modules[name]
        sys.modules.update({name: module for name, module in modules.items() if name not in sys.modules})


@contextmanager
def _own_logging() -> Iterator[None]:
    configured, config = structlog.is_configured(), structlog.get_config()
    before = logs._threshold, logs._writes_json, logs._is_configured_here
    structlog.reset_defaults()
    logs._threshold, logs._writes_json, logs._is_configured_here = logs.INFO, False, False
    try:
        yield
    finally:
        structlog.reset_defaults()
        if configured:
            structlog.configure(**config)
        logs._threshold, logs._writes_json, logs._is_configured_here = before


@contextmanager
def _own_registry() -> Iterator[None]:
    before = dict(hook_class._registry._hooks)
    try:
        yield
    finally:
        hook_class._registry._hooks.clear()
        hook_class._registry._hooks.update(before)


@contextmanager
def _streams(out: IO[str], err: IO[str]) -> Iterator[None]:
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull) as nothing:
        sys.stdin, sys.stdout, sys.stderr = nothing, out, err
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
