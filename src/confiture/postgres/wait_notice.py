"""Tell the user what a command waits for, at once: a person who sees nothing believes that it hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Announce = Callable[[str], None]


def _ignore(_text: str) -> None:
    """Say nothing: an application that uses the Python API has its own ways to show what it waits for."""


_announce: ContextVar[Announce] = ContextVar("announce", default=_ignore)


def announce_wait(text: str) -> None:
    """Say what is waited for, and for how long."""
    _announce.get()(text)


@contextmanager
def show_waits(announce: Announce) -> Iterator[None]:
    """Have ``announce`` receive what is waited for inside the block."""
    token = _announce.set(announce)
    try:
        yield
    finally:
        _announce.reset(token)
