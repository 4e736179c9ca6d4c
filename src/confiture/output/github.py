"""GitHub: an annotation for each notice, as workflow commands, and a summary of the job in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from confiture.models.report import Report
from confiture.output import markdown
from confiture.output.notices import Notice, collect_notices
from confiture.output.reporters import RenderContext, Reporter

_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
_TEXT_ESCAPES = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
# GitHub cuts an annotation at 64 KB.
_MAX_MESSAGE_CHARS = 8_000
_PROPERTY_ESCAPES = _TEXT_ESCAPES | str.maketrans({":": "%3A", ",": "%2C"})


def render(report: Report, context: RenderContext) -> str:
    """Return a workflow command a line; GitHub shows the first ten of each kind, so the worst come first."""
    told = [notice for notice in collect_notices(report, context) if not notice.ignored]
    return "".join(f"{_render_command(notice)}\n" for notice in told)


def _render_command(notice: Notice) -> str:
    properties = ",".join(
        f"{name}={value.translate(_PROPERTY_ESCAPES)}" for name, value in _list_properties(notice)
    )
    return f"::{_COMMANDS[notice.severity]} {properties}::{_render_text(notice).translate(_TEXT_ESCAPES)}"


def _list_properties(notice: Notice) -> Iterator[tuple[str, str]]:
    if notice.file:
        yield "file", notice.file
        for name, number in (("line", notice.line), ("col", notice.column if notice.line else None)):
            if number:
                yield name, str(number)
    yield "title", f"confiture: {notice.rule}"


def _render_text(notice: Notice) -> str:
    message = (
        notice.message
        if len(notice.message) <= _MAX_MESSAGE_CHARS
        else f"{notice.message[:_MAX_MESSAGE_CHARS]}…"
    )
    named = message if notice.file else f"{notice.migration} {message}".strip()
    return f"{named}\n\nWrite instead:\n{notice.recipe}" if notice.recipe else named


REPORTER = Reporter("github", render, {"GITHUB_STEP_SUMMARY": markdown.render}, lines=True)
