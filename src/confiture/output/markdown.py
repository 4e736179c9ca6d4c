"""Markdown: a comment on a pull request; the worst comes first, because the end may be cut."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from confiture.escape import escape_control
from confiture.models.report import MigrationReport, Report
from confiture.output.estimates import build_headline, format_estimate
from confiture.output.fold_migrations import describe_folded, fold_migrations
from confiture.output.format import format_count, format_duration
from confiture.output.notices import Notice, collect_notices, format_label
from confiture.output.reporters import RenderContext, Reporter
from confiture.output.summary import leaves_out_many, render_summary

MAX_LENGTH = 64_000
"""In UTF-16 units, which is how GitHub counts; it accepts 65,536."""
_LONGEST_MESSAGE, _LONGEST_RECIPE, _MOST_NAMES = 1_000, 4_000, 5
_TABLE_HEAD = "\n| migration | | time | rows | blocks |\n|---|---|---:|---:|---|\n"
_TABLE_HEAD_WITH_ESTIMATE = (
    "\n| migration | | time | rows | blocks | in production |\n|---|---|---:|---:|---|---|\n"
)
_MARKS = {"error": "🛑 error", "warning": "⚠️ warning", "info": "info"}
# No line starts with foreign text, so characters special only at a line start need no escape.
_SPECIAL_CHARACTERS = re.compile(r"[\\`*_{}\[\]<>&#!|~$]")
# GitHub links @name, #1 and URLs even if they are escaped; an invisible word joiner prevents it.
_REFERENCES = re.compile(r"(?<=[@#!&~$%^])(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)")


def render(report: Report, context: RenderContext) -> str:
    """Return a headline, the notices, the migrations, and how much was left out."""
    notices = collect_notices(report, context)
    shown = [notice for notice in notices if not notice.ignored]
    text = _LimitedText(_render_head(report, shown) + "".join(_render_verdict(report)))
    listed = sum(
        text.try_append(_render_notice(notice, recipe=True), _render_notice(notice, recipe=False))
        for notice in shown
    )
    estimated = any(migration.estimate for migration in report.migrations)
    parts = fold_migrations(report.migrations)
    head = _TABLE_HEAD_WITH_ESTIMATE if estimated else _TABLE_HEAD
    rows = [_render_row(migration, with_estimate=estimated) for migration in parts.shown]
    if rows and text.try_append(head):
        rows = [row for row in rows if not text.try_append(row)]
    left = len(rows)
    if parts.folded and not text.try_append(_render_folded(parts.folded, head, with_estimate=estimated)):
        left += len(parts.folded)
    return text.finish(_render_tail(len(notices) - len(shown), len(shown) - listed, left))


def _render_folded(migrations: Sequence[MigrationReport], head: str, *, with_estimate: bool) -> str:
    rows = "".join(_render_row(migration, with_estimate=with_estimate) for migration in migrations)
    summary = escape_markdown(describe_folded(migrations))
    return f"\n<details><summary>{summary}</summary>\n{head}{rows}\n</details>\n"


class _LimitedText:
    """Text of limited length: once a part does not fit, no later part is added."""

    def __init__(self, head: str) -> None:
        self.parts, self.left, self.full = [head], MAX_LENGTH - _measure_length(head), False

    def try_append(self, *choices: str) -> bool:
        """Add the first of ``choices`` that fits, and return whether one did."""
        fitting = (choice for choice in choices if _measure_length(choice) <= self.left and not self.full)
        part = next(fitting, None)
        if part is None:
            self.full = True
            return False
        self.parts.append(part)
        self.left -= _measure_length(part)
        return True

    def finish(self, tail: str) -> str:
        """Return the text, followed by ``tail``, for which the limit leaves space."""
        return "".join((*self.parts, tail))


def _measure_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _render_head(report: Report, shown: Iterable[Notice]) -> str:
    counts = Counter(notice.severity for notice in shown)
    words = [format_count(counts[name], name) for name in ("error", "warning") if counts[name]]
    server = f" on PostgreSQL {escape_markdown(report.rehearsed_on or report.server_version)}"
    done = Counter(migration.outcome.replace("_", " ") for migration in report.migrations)
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in done.items()) or escape_markdown(
        report.judged or "no migrations"
    )
    where = server if report.server_version else ""
    code = f"; exit code {report.exit_code}" if report.exit_code else ""
    return (
        f"## confiture {report.mode}: {', '.join(words) or _describe_empty(report)}\n\n"
        f"{report.outcome}{where}: {outcomes}{code}\n\n"
    )


def _render_verdict(report: Report) -> Iterator[str]:
    """Yield how much was left out, the gate's verdict, and the longest block expected in production."""
    if report.outcome == "ok" and leaves_out_many(report):
        yield f"**{escape_markdown(render_summary(report))}.**\n\n"
    verdict = report.verdict
    if verdict and (report.migrations or report.findings):
        steps = f" Next: {escape_markdown(verdict.next_step)}" if verdict.next_step else ""
        yield f"**{escape_markdown(_cut(verdict.sentence, _LONGEST_MESSAGE))}.**{steps}\n\n"
    if production := build_headline(report):
        yield f"{escape_markdown(production)}\n\n"


def _describe_empty(report: Report) -> str:
    return "nothing found" if report.outcome == "ok" else report.outcome


def _render_notice(notice: Notice, *, recipe: bool) -> str:
    place = f" {format_code(notice.place)}" if notice.place else ""
    of = f" {escape_markdown(notice.migration)}:" if notice.migration and not notice.place else ""
    message = "<br>".join(map(escape_markdown, _cut(notice.message, _LONGEST_MESSAGE).split("\n")))
    item = f"- **{_MARKS[notice.severity]}** {format_code(notice.rule)}{place}{of} — {message}\n"
    if notice.recipe and recipe:
        item += _render_recipe(_cut(notice.recipe, _LONGEST_RECIPE))
    return item


def _render_recipe(sql: str) -> str:
    fence = "`" * max(3, 1 + _find_longest_run(sql))
    lines = ["", "<details><summary>write instead</summary>", "", f"{fence}sql"]
    lines += [*sql.split("\n"), fence, "", "</details>", ""]
    return "\n".join(f"  {line}".rstrip() for line in lines) + "\n"


def _render_row(migration: MigrationReport, *, with_estimate: bool) -> str:
    rows = "" if migration.rows_affected is None else f"{migration.rows_affected:,}"
    cells = (
        escape_markdown(format_label(migration)),
        migration.outcome.replace("_", " "),
        format_duration(migration.duration_ms),
        rows,
        "; ".join(_list_blocked(migration)),
        *(
            [escape_markdown(format_estimate(migration.estimate)) if migration.estimate else ""]
            if with_estimate
            else []
        ),
    )
    return f"| {' | '.join(cells)} |\n"


def _list_blocked(migration: MigrationReport) -> Iterator[str]:
    for what, names in (("reads", migration.blocks.reads), ("writes", migration.blocks.writes)):
        if names:
            first = ", ".join(map(escape_markdown, names[:_MOST_NAMES]))
            more = len(names) - _MOST_NAMES
            yield f"{what} of {first}{f' and {more} more' if more > 0 else ''}"


def _render_tail(ignored: int, notices_left: int, rows_left: int) -> str:
    left = [
        *([format_count(notices_left, "notice")] if notices_left else []),
        *([format_count(rows_left, "migration")] if rows_left else []),
    ]
    lines = [f"{format_count(ignored, 'finding')} ignored."] if ignored else []
    if left:
        lines.append(f"**Cut: {' and '.join(left)} left out;** the other reports have all of them.")
    return "".join(f"\n{line}\n" for line in lines)


def escape_markdown(text: object) -> str:
    """Return ``text`` escaped, so that Markdown shows it literally."""
    apart = _REFERENCES.sub("\u2060", " ".join(escape_control(text).split()))
    return _SPECIAL_CHARACTERS.sub(r"\\\g<0>", apart)


def format_code(text: str) -> str:
    """Return ``text`` as a code span, with a fence longer than any run of backticks in it."""
    fence = "`" * (1 + _find_longest_run(text))
    pad = " " if text[:1] in "` " or text[-1:] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _find_longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


REPORTER = Reporter("markdown", render)
