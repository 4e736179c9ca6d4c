"""Logs go to stderr; structlog is imported when the first line is written, and not before."""

from __future__ import annotations

import logging
import sys
from typing import Any

_threshold = logging.INFO
_json = False
_ours = False


def set_threshold(level: int) -> None:
    """Leave out what is less severe than ``level``, one of :mod:`logging`'s."""
    global _threshold
    _threshold = level


def set_format(format: str) -> None:
    """Write log lines as ``"text"`` or as ``"json"``, one object a line."""
    global _json
    _json = format == "json"
    if _ours:
        _configure()


def as_json() -> bool:
    """Whether stderr is for machines."""
    return _json


def logger(name: str) -> Any:
    """Return a structlog logger; an application's own configuration of structlog holds."""
    import structlog

    if not structlog.is_configured():
        _configure()
    return structlog.get_logger(name)


def _configure() -> None:
    global _ours
    import structlog

    _ours = True
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            *_rendering(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _rendering() -> list[Any]:
    from structlog.processors import JSONRenderer, KeyValueRenderer, TimeStamper

    if _json:
        # ASCII only: nothing in it that a terminal would obey.
        return [TimeStamper(fmt="iso", utc=True), JSONRenderer(default=str)]
    return [_inert, KeyValueRenderer(key_order=["level", "event", "version", "phase", "plugin"])]


def _inert(_logger: Any, _method: str, event: Any) -> Any:
    from confiture.output.words import inert

    return {key: inert(value) if isinstance(value, str) else value for key, value in event.items()}
