"""Markdown: a comment on a pull request, the worst first, that stays useful when it has to be cut."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from confiture.escape import escape_control
from confiture.models.report import MigrationReport, Report
from confiture.output.estimates import build_headline, format_estimate
from confiture.output.format import format_count, format_duration
from confiture.output.notices import Notice, collect_notices, format_label
from confiture.output.reporters import RenderContext, Reporter

MAX_LENGTH = 64_000
"""Characters; GitHub takes 65,536, and counts some of them twice."""
_LONGEST_MESSAGE, _LONGEST_RECIPE, _MOST_NAMES = 1_000, 4_000, 5
_TABLE_HEAD = "\n| migration | | time | rows | blocks |\n|---|---|---:|---:|---|\n"
_TABLE_HEAD_WITH_ESTIMATE = (
    "\n| migration | | time | rows | blocks | in production |\n|---|---|---:|---:|---|---|\n"
)
_MARKS = {"error": "🛑 error", "warning": "⚠️ warning", "info": "info"}
# No line starts with foreign text, so characters special only at a line start need no escape.
_SPECIAL_CHARACTERS = re.compile(r"[\\`*_{}\[\]<>&#!|~$]")
# Escaped or not, GitHub makes links of these; a joiner that nobody sees keeps them apart.
_REFERENCES = re.compile(r"(?<=[@#!&~$%^])(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)")


def render(report: Report, context: RenderContext) -> str:
    """Return a headline, what was found, the migrations; and what had to be left out."""
    told = collect_notices(report, context)
    shown = [notice for notice in told if not notice.ignored]
    text = _LimitedText(_render_head(report, shown) + "".join(_render_verdict(report)))
    listed = sum(
        text.try_append(_render_notice(notice, recipe=True), _render_notice(notice, recipe=False))
        for notice in shown
    )
    asked = any(migration.estimate for migration in report.migrations)
    rows = [_render_row(migration, with_estimate=asked) for migration in report.migrations]
    if rows and text.try_append(_TABLE_HEAD_WITH_ESTIMATE if asked else _TABLE_HEAD):
        rows = [row for row in rows if not text.try_append(row)]
    return text.finish(_render_tail(len(told) - len(shown), len(shown) - listed, len(rows)))


class _LimitedText:
    """A text that grows as long as it fits; what does not fit once, ends it."""

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
        """Return it all."""
        return "".join((*self.parts, tail))


def _measure_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _render_head(report: Report, shown: Iterable[Notice]) -> str:
    counts = Counter(notice.severity for notice in shown)
    words = [format_count(counts[name], name) for name in ("error", "warning") if counts[name]]
    server = f" on PostgreSQL {escape_markdown(report.rehearsed_on or report.server_version)}"
    done = Counter(migration.outcome.replace("_", " ") for migration in report.migrations)
    said = ", ".join(f"{number} {outcome}" for outcome, number in done.items()) or "no migrations"
    where = server if report.server_version else ""
    code = f"; exit code {report.exit_code}" if report.exit_code else ""
    return (
        f"## confiture {report.mode}: {', '.join(words) or _describe_empty(report)}\n\n"
        f"{report.outcome}{where}: {said}{code}\n\n"
    )


def _render_verdict(report: Report) -> Iterator[str]:
    """Yield what the gate says, and what production would wait for longest."""
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
        lines.append(f"**Cut: {' and '.join(left)} left out here;** the other reports have them all.")
    return "".join(f"\n{line}\n" for line in lines)


def escape_markdown(text: object) -> str:
    """Return ``text`` as Markdown that shows it and does nothing else."""
    apart = _REFERENCES.sub("\u2060", " ".join(escape_control(text).split()))
    return _SPECIAL_CHARACTERS.sub(r"\\\g<0>", apart)


def format_code(text: str) -> str:
    """Return ``text`` as a code span, whatever backticks it holds."""
    fence = "`" * (1 + _find_longest_run(text))
    pad = " " if text[:1] in "` " or text[-1:] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _find_longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


REPORTER = Reporter("markdown", render)
