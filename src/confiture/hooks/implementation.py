"""One implementation of a hook, its ways to fail, and the checkpoints of generator hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from confiture.exceptions import ConfitureError, describe_error
from confiture.hooks.api import HookError, HookPhase


@frozen
class HookImplementation:
    """One implementation of one phase.

    Attributes:
        phase: The phase in which it runs.
        plugin: Its plugin's name, ``None`` for a migration's own hook.
        name: As it appears in the report.
        config: The plugin's table of the configuration.
    """

    phase: HookPhase
    plugin: str | None
    name: str
    config: Mapping[str, Any] = field(factory=dict)

    @property
    def continues_on_failure(self) -> bool:
        """True if a failure becomes a warning and the migration continues."""
        return self.config.get("on_failure") == "continue"

    @property
    def may_retry(self) -> bool:
        """True if a lock timeout may still be retried after this hook has run."""
        return self.config.get("retry") is not False


class HookFatal(HookError):
    """A hook ended the transaction or lost the connection: the migration stops, whatever ``on_failure`` says.

    Attributes:
        may_be_committed: True if PostgreSQL may have committed what the migration did until then.
    """

    def __init__(self, ref: HookImplementation, error: BaseException, *, may_be_committed: bool) -> None:
        super().__init__(ref.name, ref.phase, error, plugin=ref.plugin)
        self.may_be_committed = may_be_committed


class HookMisuse(ConfitureError):
    """A hook broke a rule without raising: it left a COPY open, ended the transaction, and so on."""


class Checkpoints(Protocol):
    """Commits the transaction at a generator hook's ``yield`` and begins the next one."""

    def resume(self, ref: HookImplementation, /) -> Any:
        """Return the last value that this hook yielded before a crash, ``None`` if there was no crash."""

    def encode_progress(self, progress: Any, /) -> str:
        """Return a yielded value as the ledger stores it.

        Raises:
            HookMisuse: The value cannot be stored.
        """

    def commit(self, ref: HookImplementation, stored: str, /) -> None:
        """Store the progress, commit, and begin the next transaction."""


def run_callback(callback: Callable[[], object]) -> str | None:
    """Call an ``on_commit`` callback; return a warning if it fails, else ``None``.

    It never raises: the migration is committed, so a failure must not make the command report otherwise.
    """
    try:
        callback()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        name = get_callback_name(callback)
        return f"on_commit callback {name} failed after the commit: {describe_error(error)}"
    return None


def get_callback_name(callback: Callable[[], object]) -> str:
    """Return the callback's name in its source, or its ``repr`` if it has none."""
    name = getattr(callback, "__qualname__", None)
    if isinstance(name, str):
        return name
    try:
        return repr(callback)
    except Exception:
        return type(callback).__name__
