"""What hooks asked for with ``context.on_commit``: called after the commit, when nothing can be undone."""

from __future__ import annotations

from collections.abc import Callable


def called(callback: Callable[[], object]) -> str | None:
    """Call it; a failure is only said, in the sentence that is returned."""
    try:
        callback()
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        return f"on_commit callback {callback_name(callback)} failed after the commit: {said}"
    return None


def callback_name(callback: Callable[[], object]) -> str:
    """Return what a reader knows it by."""
    return getattr(callback, "__qualname__", repr(callback))
