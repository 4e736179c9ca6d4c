"""The values that hooks and the guard exchange: phases, ``HookResult`` and ``HookError``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from attrs import define, field

from confiture.exceptions import ConfitureError, describe_error, read_message
from confiture.models.plain_values import make_plain


class HookPhase(Enum):
    """A point in a migration at which hooks run."""

    BEFORE_VALIDATION = 1
    BEFORE_DDL = 2
    AFTER_DDL = 3
    AFTER_VALIDATION = 4
    CLEANUP = 5
    ON_ERROR = 6

    @property
    def spec(self) -> str:
        """The name of the hookspec, ``"before_ddl"``."""
        return self.name.lower()

    @classmethod
    def of(cls, phase: HookPhase | str) -> HookPhase:
        """Return the phase for a phase or a phase's name, in upper or lower case.

        Raises:
            ValueError: No phase has that name.
        """
        if isinstance(phase, cls):
            return phase
        try:
            return cls[str(phase).upper()]
        except KeyError:
            known = ", ".join(known_phase.name for known_phase in cls)
            raise ValueError(f"there is no phase {phase!r}; the phases are {known}") from None


def _check_phase(phase: HookPhase | str) -> HookPhase | str:
    HookPhase.of(phase)
    return phase


def check_stats(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stats as the report keeps them: JSON's types, and the text of everything else.

    Raises:
        TypeError: A name is no text, or a value cannot be shown.
    """
    plain = {}
    for name, value in stats.items():
        if not isinstance(name, str):
            raise TypeError(f"the name of a stat must be str, not {type(name).__name__}")
        try:
            plain[name] = make_plain(value)
        except Exception as error:
            kind = type(value).__name__
            raise TypeError(
                f"stat {name!r} cannot be shown: str() of a {kind} raises {describe_error(error)}"
            ) from error
    return plain


_RESULT_TYPES: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {"hook_name": (str,), "rows_affected": (int,), "execution_time_ms": (float, int)}
)


def _check_type(_: object, attribute: Any, value: Any) -> None:
    # Not attrs' own validator: its message has the value's repr(), which may raise.
    wanted = _RESULT_TYPES[attribute.name]
    if not isinstance(value, wanted):
        kind = type(value).__name__
        raise TypeError(f"{attribute.name} must be {wanted[0].__name__}, not {kind}")


def _check_result_stats(_: object, attribute: Any, stats: Any) -> None:  # noqa: ARG001 - the validator's
    if stats is not None and not isinstance(stats, Mapping):
        raise TypeError(f"stats must be dict or None, not {type(stats).__name__}")
    check_stats(stats or {})


@define
class HookResult:
    """What a hook reports.

    Attributes:
        phase: The phase or its name, as the hook gave it.
        hook_name: As it appears in the report.
        rows_affected: Rows the hook wrote.
        stats: Anything else worth reporting.
        execution_time_ms: Wall-clock time, in milliseconds; if it is 0, the guard fills it in.
    """

    phase: HookPhase | str = field(converter=_check_phase)
    hook_name: str = field(validator=_check_type)
    rows_affected: int = field(default=0, validator=_check_type)
    stats: dict[str, Any] | None = field(default=None, validator=_check_result_stats)
    execution_time_ms: float = field(default=0, validator=_check_type)


class HookError(ConfitureError):
    """A hook failed; its savepoint was rolled back.

    Attributes:
        hook_name: The hook that failed.
        phase: The phase in which it failed.
        error: The original exception, also ``__cause__``.
        plugin: The plugin that the hook belongs to; ``None`` for a migration's own hook.
    """

    def __init__(
        self, hook_name: str, phase: HookPhase | str, error: BaseException, *, plugin: str | None = None
    ) -> None:
        self.hook_name = hook_name
        self.plugin = plugin
        self.phase = HookPhase.of(phase)
        self.error = error
        super().__init__(f"{self.description} failed in {self.phase.spec}: {_get_first_line(error)}")
        self.__cause__ = error

    @property
    def description(self) -> str:
        """The hook and its plugin, as a message names them."""
        return describe_hook(self.hook_name, self.plugin)


def describe_hook(hook_name: str, plugin: str | None) -> str:
    """Return how a hook is named in a message."""
    return f"hook {hook_name!r} of plugin {plugin!r}" if plugin else f"hook {hook_name!r}"


def _get_first_line(error: BaseException) -> str:
    text = read_message(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
