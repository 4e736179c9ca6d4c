"""The public Python API: ``from confiture.core import Hook, Migrator``.

Each name is imported on first use, so that ``confiture --help`` does not import psycopg.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confiture.api.dry_run import DryRunError, DryRunExecutor, DryRunResult
    from confiture.api.migrator import Migrator
    from confiture.api.operations import read_status, run
    from confiture.hooks.api import HookError, HookPhase, HookResult
    from confiture.hooks.hook_class import Hook, HookRegistry, get_hook, register_hook
    from confiture.hooks.hook_context import HookContext
    from confiture.hooks.hook_runner import HookExecutor

_HOME = {
    "Hook": "confiture.hooks.hook_class",
    "HookContext": "confiture.hooks.hook_context",
    "HookError": "confiture.hooks.api",
    "HookPhase": "confiture.hooks.api",
    "HookRegistry": "confiture.hooks.hook_class",
    "HookResult": "confiture.hooks.api",
    "get_hook": "confiture.hooks.hook_class",
    "register_hook": "confiture.hooks.hook_class",
    "HookExecutor": "confiture.hooks.hook_runner",
    "Migrator": "confiture.api.migrator",
    "DryRunError": "confiture.api.dry_run",
    "DryRunExecutor": "confiture.api.dry_run",
    "DryRunResult": "confiture.api.dry_run",
    "read_status": "confiture.api.operations",
    "run": "confiture.api.operations",
}

__all__ = [
    "DryRunError",
    "DryRunExecutor",
    "DryRunResult",
    "Hook",
    "HookContext",
    "HookError",
    "HookExecutor",
    "HookPhase",
    "HookRegistry",
    "HookResult",
    "Migrator",
    "get_hook",
    "read_status",
    "register_hook",
    "run",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
