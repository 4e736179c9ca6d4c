"""PostgreSQL migrations you can rehearse.

What a plugin author imports is all here::

    from confiture import hookimpl, HookContext, HookResult
"""

from confiture.core.hooks import HookContext, HookResult
from confiture.plugins.spec import hookimpl

__version__ = "0.1.0"
__all__ = ["HookContext", "HookResult", "hookimpl"]
