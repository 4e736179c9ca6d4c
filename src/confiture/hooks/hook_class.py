"""Hooks that are written as classes, and the registry that keeps them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from confiture.hooks.api import HookPhase, HookResult
from confiture.hooks.hook_context import HookContext

if TYPE_CHECKING:
    from psycopg import Connection


class Hook(ABC):
    """A hook written as a class; ``phase`` says when it runs.

    Attributes:
        phase: One of :class:`HookPhase`.
    """

    phase: ClassVar[HookPhase]

    @abstractmethod
    def execute(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Do the work on ``conn``, inside a savepoint; raise to stop the migration."""


class HookRegistry:
    """Keeps hook classes by name."""

    def __init__(self) -> None:
        self._hooks: dict[str, type[Hook]] = {}

    def register(self, name: str, hook_class: type[Hook]) -> None:
        """Keep ``hook_class`` under ``name``.

        Raises:
            TypeError: It is not a subclass of :class:`Hook`.
            ValueError: Another class has the name.
        """
        if not (isinstance(hook_class, type) and issubclass(hook_class, Hook)):
            raise TypeError(f"{hook_class!r} is not a subclass of Hook")
        if self._hooks.get(name, hook_class) is not hook_class:
            raise ValueError(f"a hook is already registered as {name!r}: {self._hooks[name]!r}")
        self._hooks[name] = hook_class

    def get(self, name: str) -> type[Hook] | None:
        """Return the class registered under ``name``, or ``None``."""
        return self._hooks.get(name)

    def list_hooks(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._hooks)

    def unregister(self, name: str) -> None:
        """Forget ``name``.

        Raises:
            KeyError: It is not registered.
        """
        del self._hooks[name]


_registry = HookRegistry()


def register_hook(name: str, hook_class: type[Hook]) -> None:
    """Keep ``hook_class`` under ``name`` in the global registry."""
    _registry.register(name, hook_class)


def get_hook(name: str) -> type[Hook] | None:
    """Return the class registered globally under ``name``, or ``None``."""
    return _registry.get(name)
