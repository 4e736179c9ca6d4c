"""One implementation of a hook: which it is, how its failure is told, and what its yields commit to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from confiture.hooks.api import HookError, HookPhase


@frozen
class HookImplementation:
    """One implementation of one phase.

    Attributes:
        phase: When it runs.
        plugin: Its plugin's name, ``None`` for a migration's own hook.
        name: As it appears in the report.
        config: The plugin's table.
    """

    phase: HookPhase
    plugin: str | None
    name: str
    config: Mapping[str, Any] = field(factory=dict)

    @property
    def continues_on_failure(self) -> bool:
        """Whether its failure is reported and passed over."""
        return self.config.get("on_failure") == "continue"

    @property
    def may_retry(self) -> bool:
        """Whether the migration may be tried again once this has run."""
        return self.config.get("retry") is not False


class HookFatal(HookError):
    """A hook ended the transaction or lost the connection: nothing may go on, whatever the policy."""

    def __init__(self, ref: HookImplementation, error: BaseException, *, may_be_committed: bool) -> None:
        super().__init__(ref.name, ref.phase, error, plugin=ref.plugin)
        self.may_be_committed = may_be_committed


class HookMisuse(Exception):
    """What a hook did wrong without raising."""


class Checkpoints(Protocol):
    """What ends the transaction at a generator hook's ``yield`` and begins the next."""

    def resume(self, ref: HookImplementation, /) -> Any:
        """Return what this hook yielded last before a crash, ``None`` where it begins."""

    def encode_progress(self, progress: Any, /) -> str:
        """Return what was yielded as it is stored, or raise :class:`Misuse`."""

    def commit(self, ref: HookImplementation, stored: str, /) -> None:
        """Store the progress, commit, and begin again."""


def run_callback(callback: Callable[[], object]) -> str | None:
    """Call it; a failure is only said, in the sentence that is returned."""
    try:
        callback()
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        return f"on_commit callback {get_callback_name(callback)} failed after the commit: {said}"
    return None


def get_callback_name(callback: Callable[[], object]) -> str:
    """Return what a reader knows it by."""
    return getattr(callback, "__qualname__", repr(callback))
