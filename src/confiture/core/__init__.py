"""The engine, and the Python API: ``from confiture.core import Hook, Migrator``.

Names load when first asked for, so that ``confiture --help`` does not import the driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confiture.core.dry_run import DryRunError, DryRunExecutor, DryRunResult
    from confiture.core.hooks import (
        Hook,
        HookContext,
        HookError,
        HookPhase,
        HookRegistry,
        HookResult,
        get_hook,
        register_hook,
    )
    from confiture.core.migrator import Migrator
    from confiture.core.operations import read_status, run
    from confiture.core.phases import HookExecutor

_HOME = {
    "Hook": "hooks",
    "HookContext": "hooks",
    "HookError": "hooks",
    "HookPhase": "hooks",
    "HookRegistry": "hooks",
    "HookResult": "hooks",
    "get_hook": "hooks",
    "register_hook": "hooks",
    "HookExecutor": "phases",
    "Migrator": "migrator",
    "DryRunError": "dry_run",
    "DryRunExecutor": "dry_run",
    "DryRunResult": "dry_run",
    "read_status": "operations",
    "run": "operations",
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
    return getattr(import_module(f"{__name__}.{home}"), name)
