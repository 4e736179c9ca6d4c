"""PostgreSQL migrations you can rehearse.

What a plugin author imports is all here::

    from confiture import hookimpl, HookContext, HookResult

Names load when first asked for: ``confiture --help`` needs none of them.
"""

from __future__ import annotations

# The same constant as in typing, whose import takes 10 ms, in which Ctrl-C would print a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from confiture.hooks.api import HookResult
    from confiture.hooks.hook_context import HookContext
    from confiture.hooks.spec import hookimpl

__version__ = "0.1.0"
__all__ = ["HookContext", "HookResult", "hookimpl"]

_HOME = {
    "HookContext": "confiture.hooks.hook_context",
    "HookResult": "confiture.hooks.api",
    "hookimpl": "confiture.hooks.spec",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
