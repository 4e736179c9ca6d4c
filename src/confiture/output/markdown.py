"""Markdown: a comment on a pull request, the worst first, that stays useful when it has to be cut."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from confiture.escape import inert
from confiture.models.report import MigrationReport, Report
from confiture.output.estimates import headline, lasting
from confiture.output.format import duration, plural
from confiture.output.notices import Notice, label, notices
from confiture.output.reporters import RenderContext, Reporter

LONGEST = 64_000
"""Characters; GitHub takes 65,536, and counts some of them twice."""
_LONGEST_MESSAGE, _LONGEST_RECIPE, _MOST_NAMES = 1_000, 4_000, 5
_PLAIN = "\n| migration | | time | rows | blocks |\n|---|---|---:|---:|---|\n"
_ASKED = "\n| migration | | time | rows | blocks | in production |\n|---|---|---:|---:|---|---|\n"
_MARKS = {"error": "🛑 error", "warning": "⚠️ warning", "info": "info"}
# No line begins with a text of somebody's: what is special only there is left as it is.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>&#!|~$]")
# Escaped or not, GitHub makes links of these; a joiner that nobody sees keeps them apart.
_REFERENCES = re.compile(r"(?<=[@#!&~$%^])(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)")


def render(report: Report, context: RenderContext) -> str:
    """Return a headline, what was found, the migrations; and what had to be left out."""
    told = notices(report, context)
    shown = [each for each in told if not each.ignored]
    text = _Text(_head(report, shown) + "".join(_says(report)))
    listed = sum(text.takes(_item(each, recipe=True), _item(each, recipe=False)) for each in shown)
    asked = any(each.estimate for each in report.migrations)
    rows = [_row(each, asked=asked) for each in report.migrations]
    if rows and text.takes(_ASKED if asked else _PLAIN):
        rows = [row for row in rows if not text.takes(row)]
    return text.whole(_tail(len(told) - len(shown), len(shown) - listed, len(rows)))


class _Text:
    """A text that grows as long as it fits; what does not fit once, ends it."""

    def __init__(self, head: str) -> None:
        self.parts, self.left, self.full = [head], LONGEST - _length(head), False

    def takes(self, *choices: str) -> bool:
        """Add the first of ``choices`` that fits, and return whether one did."""
        fitting = (each for each in choices if _length(each) <= self.left and not self.full)
        part = next(fitting, None)
        if part is None:
            self.full = True
            return False
        self.parts.append(part)
        self.left -= _length(part)
        return True

    def whole(self, tail: str) -> str:
        """Return it all."""
        return "".join((*self.parts, tail))


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _head(report: Report, shown: Iterable[Notice]) -> str:
    counts = Counter(each.severity for each in shown)
    words = [plural(counts[each], each) for each in ("error", "warning") if counts[each]]
    server = f" on PostgreSQL {escaped(report.rehearsed_on or report.server_version)}"
    done = Counter(each.outcome.replace("_", " ") for each in report.migrations)
    said = ", ".join(f"{number} {outcome}" for outcome, number in done.items()) or "no migrations"
    where = server if report.server_version else ""
    code = f"; exit code {report.exit_code}" if report.exit_code else ""
    return (
        f"## confiture {report.mode}: {', '.join(words) or _nothing(report)}\n\n"
        f"{report.outcome}{where}: {said}{code}\n\n"
    )


def _says(report: Report) -> Iterator[str]:
    """Yield what the gate says, and what production would wait for longest."""
    verdict = report.verdict
    if verdict and (report.migrations or report.findings):
        steps = f" Next: {escaped(verdict.next_step)}" if verdict.next_step else ""
        yield f"**{escaped(_cut(verdict.sentence, _LONGEST_MESSAGE))}.**{steps}\n\n"
    if production := headline(report):
        yield f"{escaped(production)}\n\n"


def _nothing(report: Report) -> str:
    return "nothing found" if report.outcome == "ok" else report.outcome


def _item(notice: Notice, *, recipe: bool) -> str:
    place = f" {code(notice.place)}" if notice.place else ""
    of = f" {escaped(notice.migration)}:" if notice.migration and not notice.place else ""
    message = "<br>".join(map(escaped, _cut(notice.message, _LONGEST_MESSAGE).split("\n")))
    item = f"- **{_MARKS[notice.severity]}** {code(notice.rule)}{place}{of} — {message}\n"
    if notice.recipe and recipe:
        item += _recipe(_cut(notice.recipe, _LONGEST_RECIPE))
    return item


def _recipe(sql: str) -> str:
    fence = "`" * max(3, 1 + _longest_run(sql))
    lines = ["", "<details><summary>write instead</summary>", "", f"{fence}sql"]
    lines += [*sql.split("\n"), fence, "", "</details>", ""]
    return "\n".join(f"  {line}".rstrip() for line in lines) + "\n"


def _row(migration: MigrationReport, *, asked: bool) -> str:
    rows = "" if migration.rows_affected is None else f"{migration.rows_affected:,}"
    cells = (
        escaped(label(migration)),
        migration.outcome.replace("_", " "),
        duration(migration.duration_ms),
        rows,
        "; ".join(_blocked(migration)),
        *([escaped(lasting(migration.estimate)) if migration.estimate else ""] if asked else []),
    )
    return f"| {' | '.join(cells)} |\n"


def _blocked(migration: MigrationReport) -> Iterator[str]:
    for what, names in (("reads", migration.blocks.reads), ("writes", migration.blocks.writes)):
        if names:
            first = ", ".join(map(escaped, names[:_MOST_NAMES]))
            more = len(names) - _MOST_NAMES
            yield f"{what} of {first}{f' and {more} more' if more > 0 else ''}"


def _tail(ignored: int, notices_left: int, rows_left: int) -> str:
    left = [
        *([plural(notices_left, "notice")] if notices_left else []),
        *([plural(rows_left, "migration")] if rows_left else []),
    ]
    lines = [f"{plural(ignored, 'finding')} ignored."] if ignored else []
    if left:
        lines.append(f"**Cut: {' and '.join(left)} left out here;** the other reports have them all.")
    return "".join(f"\n{line}\n" for line in lines)


def escaped(text: object) -> str:
    """Return ``text`` as Markdown that shows it and does nothing else."""
    apart = _REFERENCES.sub("\u2060", " ".join(inert(text).split()))
    return _SPECIAL.sub(r"\\\g<0>", apart)


def code(text: str) -> str:
    """Return ``text`` as a code span, whatever backticks it holds."""
    fence = "`" * (1 + _longest_run(text))
    pad = " " if text[:1] in "` " or text[-1:] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


REPORTER = Reporter("markdown", render)
