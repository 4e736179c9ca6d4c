"""``HookContext``: what a hook may know of the running migration, and ask of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from confiture.hooks.api import HookPhase, check_stats

if TYPE_CHECKING:
    import structlog


class RunningMigration(Protocol):
    """The running migration, as ``HookContext`` calls it."""

    def relations(self) -> tuple[str, ...]:
        """Return the relations that the migration has changed so far."""

    def statements(self) -> tuple[str, ...]:
        """Return the statements that the migration has run so far."""

    def warn(self, message: str) -> None:
        """Add a warning to the report."""

    def set_local(self, name: str, value: str) -> None:
        """Change a setting until the migration ends."""


class HandOver(MutableMapping[str, Any]):
    """Values that hooks pass to later hooks: each writes under its plugin's name, and all may read."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self.writer: str | None = None

    def __getitem__(self, name: str) -> Any:
        if name == self.writer and name not in self._values:
            self._values[name] = {}
        value = self._values[name]
        # Another plugin gets a read-only view: without it, `data["other"]["key"] = …` would bypass
        # __setitem__ and so the check of the writer.
        lent = isinstance(value, dict) and self.writer not in (None, name)
        return MappingProxyType(value) if lent else value

    def __setitem__(self, name: str, value: Any) -> None:
        self._check_writer(name)
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        self._check_writer(name)
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def copy_values(self) -> dict[str, Any]:
        """Return a copy of all values, to restore after a hook is rolled back."""
        return {
            name: dict(value) if isinstance(value, dict) else value for name, value in self._values.items()
        }

    def _check_writer(self, name: str) -> None:
        if self.writer not in (None, name):
            raise KeyError(f"{self.writer!r} may write context.data[{self.writer!r}] only, not [{name!r}]")


class HookContext:
    """Describes the migration that a hook runs in, and lets the hook act on it.

    Attributes:
        migration_name: Without its version.
        migration_version: As written in the file's name.
        direction: ``"forward"`` or ``"backward"``.
        phase: The phase that is running, ``None`` outside a phase.
        dry_run: True in a rehearsal.
        folder: The folder of the migration's file; ``None`` if it has no file.
        attempt: 1 for the first attempt, 2 for the first retry after a lock timeout, and so on.
        config: This plugin's table of the configuration.
        data: Values passed between hooks: each writes under its plugin's name, and all may read.
        error: In ``on_error``, the error that stopped the migration.
        resume: The last value that a generator hook yielded before a crash, else ``None``.
    """

    def __init__(
        self,
        migration_name: str,
        migration_version: str,
        direction: Literal["forward", "backward"] = "forward",
        *,
        dry_run: bool = False,
        attempt: int = 1,
        folder: Path | None = None,
    ) -> None:
        self.migration_name = migration_name
        self.migration_version = migration_version
        self.direction = direction
        self.phase: HookPhase | None = None
        self.dry_run = dry_run
        self.attempt = attempt
        self.folder = folder
        self.config: Mapping[str, Any] = {}
        self.data = HandOver()
        self.error: BaseException | None = None
        self.resume: Any = None
        self.callbacks: list[Callable[[], object]] = []
        self._stats: dict[str, Any] = {}
        self._hook_stats: dict[str, Any] = {}
        self._running: RunningMigration | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Confiture itself relies on these until the migration's end.
        if name in _OWN_ATTRIBUTES and getattr(self, "_running", None) is not None:
            raise AttributeError(_explain_read_only(name))
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _OWN_ATTRIBUTES:
            raise AttributeError(_explain_read_only(name))
        super().__delattr__(name)

    @property
    def stats(self) -> dict[str, Any]:
        """A copy of all figures set so far."""
        return dict(self._stats)

    def get_stat(self, name: str, default: Any = None) -> Any:
        """Return the figure that ``set_stat`` stored under ``name``, else ``default``."""
        return self._stats.get(name, default)

    def set_stat(self, name: str, value: Any) -> None:
        """Store a figure; the report shows it with this hook.

        Raises:
            TypeError: The name is no text, or ``str(value)`` raises an error.
        """
        check_stats({name: value})
        self._stats[name] = value
        self._hook_stats[name] = value

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A structlog logger, bound to version, phase and plugin."""
        from confiture.logs import get_logger

        return get_logger("confiture.hook").bind(  # type: ignore[no-any-return]
            version=self.migration_version,
            phase=self.phase.spec if self.phase else None,
            plugin=self.data.writer,
        )

    def relations(self) -> tuple[str, ...]:
        """Return the relations the migration has changed so far, schema-qualified.

        Raises:
            RuntimeError: No migration is running.
        """
        return self._get_running("relations()").relations()

    def statements(self) -> tuple[str, ...]:
        """Return the SQL that the migration has run so far, without the data of a ``COPY``.

        Raises:
            RuntimeError: No migration is running.
        """
        return self._get_running("statements()").statements()

    def warn(self, message: str) -> None:
        """Add a warning to the migration's report; it stays there if the hook fails later.

        Raises:
            RuntimeError: No migration is running.
        """
        self._get_running("warn()").warn(message)

    def set_local(self, name: str, value: str | int) -> None:
        """Change a server setting until the migration ends: ``lock_timeout``, ``role``, ``work_mem``…

        Use this and not ``SET LOCAL``: the guard restores every setting that a hook changed by SQL,
        because it cannot know whether the hook meant the change to last.

        Raises:
            RuntimeError: No migration is running.
            psycopg.Error: The server refuses the name or the value.
        """
        self._get_running("set_local()").set_local(name, str(value))

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` after the commit; never in a rehearsal.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"on_commit takes a function, not {type(callback).__name__}")
        self.callbacks.append(callback)

    def _get_running(self, member: str) -> RunningMigration:
        if self._running is None:
            raise RuntimeError(f"context.{member} works while a hook is running")
        return self._running

    @contextlib.contextmanager
    def lend_to_hook(
        self,
        running: RunningMigration,
        phase: HookPhase,
        plugin: str | None,
        config: Mapping[str, Any],
        hook_stats: dict[str, Any],
        resume: Any = None,
    ) -> Iterator[None]:
        """Bind the context to one hook for a while: its phase, plugin, configuration and stats.

        A wrapper is still open while the hooks inside it run, so the previous binding is restored.
        """
        before = (self._running, self.phase, self.config, self._hook_stats, self.data.writer, self.resume)
        self._set_state(running, phase, config, hook_stats, plugin, resume)
        try:
            yield
        finally:
            self._set_state(*before)

    def _set_state(
        self,
        running: Any,
        phase: Any,
        config: Any,
        hook_stats: dict[str, Any],
        plugin: str | None,
        resume: Any,
    ) -> None:
        # None for a moment: while a hook runs, none of the others can be set.
        self._running = None
        self.phase, self.config, self._hook_stats = phase, config, hook_stats
        self.data.writer, self.resume = plugin, resume
        self._running = running

    def save_state(self) -> Callable[[], None]:
        """Return a function that restores the present stats, data and callbacks.

        The guard calls it when it rolls a hook back: Python values know nothing of savepoints.
        """
        stats, data, callbacks = dict(self._stats), self.data.copy_values(), list(self.callbacks)

        def put_back() -> None:
            self._stats = stats
            self.data._values = data
            self.callbacks[:] = callbacks

        return put_back


_OWN_ATTRIBUTES = frozenset(
    {
        "attempt",
        "callbacks",
        "config",
        "data",
        "direction",
        "dry_run",
        "error",
        "folder",
        "migration_name",
        "migration_version",
        "phase",
        "resume",
    }
)


def _explain_read_only(name: str) -> str:
    if name == "data":
        return "context.data cannot be replaced: write context.data[PLUGIN], with your plugin's name"
    return f"context.{name} cannot be changed"
