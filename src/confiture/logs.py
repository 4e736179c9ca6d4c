"""Logs go to stderr; structlog is imported when the first line is written, and not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from confiture.streams import find_stderr

# As in the module logging, which takes three milliseconds to import and would lend nothing else.
DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
_LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING}

_threshold = INFO
_writes_json = False
_is_configured_here = False
_show_progress: Callable[[Mapping[str, Any]], None] | None = None


def redirect_progress(show: Callable[[Mapping[str, Any]], None] | None) -> None:
    """Give progress events to a display instead of writing them; with ``None`` write them again."""
    global _show_progress
    _show_progress = show


def set_threshold(level: int) -> None:
    """Drop log lines less severe than ``level``."""
    global _threshold
    _threshold = level


def set_format(format: str) -> None:
    """Write log lines as ``"text"`` or as ``"json"``, one object a line."""
    global _writes_json
    _writes_json = format == "json"
    if _is_configured_here:
        _configure()


def is_json() -> bool:
    """Return True if stderr carries JSON."""
    return _writes_json


def get_logger(name: str) -> Any:
    """Return a structlog logger; an application's own configuration of structlog holds."""
    import structlog

    if not structlog.is_configured():
        _configure()
    return structlog.get_logger(name)


def _configure() -> None:
    global _is_configured_here
    import structlog

    _is_configured_here = True
    structlog.configure(
        processors=[
            _drop_below_threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            *_choose_renderers(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(_threshold, INFO)),
        logger_factory=structlog.PrintLoggerFactory(find_stderr()),
    )


def _drop_below_threshold(_logger: Any, method: str, event: Any) -> Any:
    """Drop events below the threshold, but keep progress events: they show that a long step is alive."""
    from structlog.exceptions import DropEvent

    level = _LEVELS.get(method, ERROR)
    is_progress = _threshold <= WARNING and level >= INFO and str(event.get("event")).endswith(".progressed")
    if is_progress and _show_progress is not None:
        _show_progress(event)
        raise DropEvent
    if level < _threshold and not is_progress:
        raise DropEvent
    return event


def _choose_renderers() -> list[Any]:
    from structlog.processors import JSONRenderer, KeyValueRenderer, TimeStamper

    if _writes_json:
        # ASCII only: nothing in it that a terminal would obey.
        return [TimeStamper(fmt="iso", utc=True), JSONRenderer(default=str)]
    return [_escape_values, KeyValueRenderer(key_order=["level", "event", "version", "phase", "plugin"])]


def _escape_values(_logger: Any, _method: str, event: Any) -> Any:
    from confiture.escape import escape_control

    return {key: escape_control(value) if isinstance(value, str) else value for key, value in event.items()}
