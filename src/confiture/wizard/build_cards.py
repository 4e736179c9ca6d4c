"""Make the cards of a plan from its rehearsal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault, MigrationFaults
from confiture.migrations.prepare import prepare
from confiture.migrations.version import parse_version
from confiture.models.migration import MigrationFile
from confiture.models.report import Finding, MigrationReport, Report
from confiture.wizard.card import Card, Undo
from confiture.wizard.database_facts import DatabaseFacts
from confiture.wizard.risk import format_time, judge_risks
from confiture.wizard.strategy import recommend_strategy
from confiture.wizard.summary_sentence import summarize

_LOSSY = ("drops table", "drops column", "drops schema", "deletes", "empties")


def list_relations(report: Report) -> tuple[str, ...]:
    """Return the relations that a report names: those whose sizes and sessions matter."""
    names: list[str] = []
    for migration in report.migrations:
        names += (*migration.blocks.reads, *migration.blocks.writes, *migration.long_blocks)
        names += (lock.relation for lock in migration.locks if lock.kind != "index")
    names += (finding.relation for finding in report.findings if finding.relation)
    return tuple(dict.fromkeys(names))


def build_cards(
    settings: Settings, report: Report, files: Sequence[MigrationFile], facts: DatabaseFacts
) -> tuple[Card, ...]:
    """Return one card a migration of the rehearsal, in order."""
    by_version = {parse_version(file.version): file for file in files}
    return tuple(
        _build_card(
            settings,
            migration,
            [
                finding
                for finding in report.findings
                if finding.migration == migration.version and not finding.ignored
            ],
            by_version.get(parse_version(migration.version)),
            facts,
        )
        for migration in report.migrations
    )


def _build_card(
    settings: Settings,
    migration: MigrationReport,
    findings: Sequence[Finding],
    file: MigrationFile | None,
    facts: DatabaseFacts,
) -> Card:
    blocked = (*migration.blocks.reads, *migration.blocks.writes, *migration.long_blocks)
    sessions = _find_sessions(facts.sessions, blocked)
    statements = [statement.sql for statement in migration.statements] or _read_statements(file)
    return Card(
        migration=migration,
        statements=tuple(statements),
        does=summarize(statements),
        risks=judge_risks(migration, findings, facts.rows),
        time=format_time(migration),
        hooks=migration.hooks,
        undo=_find_undo(file),
        strategy=recommend_strategy(
            migration, findings, sessions, settings.lock_timeout, settings.lock_retries
        ),
        findings=tuple(findings),
    )


def _find_sessions(sessions: Mapping[str, tuple[str, ...]], relations: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for relation in dict.fromkeys(relations) for text in sessions.get(relation, ()))


def _read_statements(file: MigrationFile | None) -> list[str]:
    """Return the statements of a file that was not rehearsed."""
    if file is None or file.kind == "python":
        return []
    (work,) = prepare((file,), "forward")
    return [statement.sql for statement in work.script.statements] if work.script else []


def _find_undo(file: MigrationFile | None) -> Undo:
    if file is None:
        return Undo("its file is missing")
    try:
        (work,) = prepare((file,), "backward")
    except (MigrationFault, MigrationFaults) as fault:
        return Undo(f"not by confiture down: {fault.message}")
    if work.script is None:
        return Undo("confiture down calls its down()", "what that undoes is in Python, and not known here")
    statements = [statement.sql for statement in work.script.statements]
    if not statements:
        return Undo("confiture down runs nothing: its down part is empty")
    does = summarize(statements)
    lossy = any(word in does for word in _LOSSY)
    return Undo(f"confiture down {does}", "what was written there since" if lossy else None)
