"""Logs go to stderr; structlog is imported when the first line is written, and not before."""

from __future__ import annotations

import logging
import sys
from typing import Any

_threshold = logging.INFO


def set_threshold(level: int) -> None:
    """Leave out what is less severe than ``level``, one of :mod:`logging`'s."""
    global _threshold
    _threshold = level


def logger(name: str) -> Any:
    """Return a structlog logger; an application's own configuration of structlog holds."""
    import structlog

    if not structlog.is_configured():
        _configure()
    return structlog.get_logger(name)


def _configure() -> None:
    import structlog

    structlog.configure(
        processors=[
            _chosen,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _inert,
            structlog.processors.KeyValueRenderer(key_order=["level", "event", "version", "phase", "plugin"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(_threshold, logging.INFO)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _chosen(_logger: Any, method: str, event: Any) -> Any:
    """Let progress be told beside warnings: what lasts long is news, though nothing is wrong."""
    from structlog.exceptions import DropEvent

    level = getattr(logging, method.upper(), logging.ERROR)
    told = _threshold <= logging.WARNING and level >= logging.INFO
    if level < _threshold and not (told and str(event.get("event")).endswith(".progressed")):
        raise DropEvent
    return event


def _inert(_logger: Any, _method: str, event: Any) -> Any:
    from confiture.output.words import inert

    return {key: inert(value) if isinstance(value, str) else value for key, value in event.items()}
