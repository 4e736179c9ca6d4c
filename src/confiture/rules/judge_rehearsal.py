"""Judge a rehearsed plan: join the text of each statement with what the rehearsal measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import Report, StatementReport
from confiture.rules.describe_rules import describe_rules
from confiture.rules.evaluate import RuleSet, find_findings
from confiture.rules.new_relations import PlanScope, mark_new_relations
from confiture.rules.parse_files import make_loose_script, parse_migration, read_python, show_path
from confiture.rules.parsed_migration import ParsedMigration, link_plan
from confiture.rules.suppressions import refuse_unknown
from confiture.sql.parser import ParseError, parse

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.api.execution import Judge


def read_rehearsed(
    report: Report,
    works: Sequence[PreparedMigration],
    root: Path,
    *,
    lock_timeout: str | None = None,
    statement_timeout: str | None = None,
    scope: PlanScope | None = None,
    empty_in_production: frozenset[str] = frozenset(),
) -> tuple[ParsedMigration, ...]:
    """Return the migrations of a plan for the rules, in order, with the reports of their rehearsal."""
    migrations: list[ParsedMigration] = []
    for work, migration in zip(works, report.migrations, strict=False):
        parsed = _read_migration(work, root, rehearsed=migration.outcome == "rehearsed")
        parsed.report = migration if migration.outcome == "rehearsed" else None
        parsed.lock_timeout = parsed.lock_timeout or lock_timeout
        parsed.statement_timeout = parsed.statement_timeout or statement_timeout
        parsed.rehearsal, parsed.empty_in_production = True, empty_in_production
        _attach_reports(parsed, migration.statements if parsed.report else (), python=work.script is None)
        migrations.append(parsed)
    mark_new_relations(migrations, scope)
    return tuple(migrations)


def _read_migration(work: PreparedMigration, root: Path, *, rehearsed: bool) -> ParsedMigration:
    if work.script is not None:
        return parse_migration(work.version, work.name, work.script, root)
    if work.file and not rehearsed:
        # It ran no statement that a report could list: what its text holds is all that there is to judge.
        with suppress(MigrationFault):
            return read_python(make_loose_script(work.file), root)
    file = show_path(work.file, root) if work.file else ""
    return ParsedMigration(work.version, work.name, file, transactional=work.transactional)


def _attach_reports(migration: ParsedMigration, reports: Sequence[StatementReport], *, python: bool) -> None:
    # The statements of a Python migration are known only from its run, as the report lists them.
    if python:
        for report in reports:
            _add_report(migration, report)
    # Not strict: a migration that was not rehearsed to its end has no reports.
    for statement, report in zip(migration.statements, reports, strict=False) if not python else ():
        statement.report = report


def _add_report(migration: ParsedMigration, report: StatementReport) -> None:
    """Add a statement that a Python migration ran, unless it does not parse (``%s``)."""
    try:
        statements = parse(report.sql)
    except ParseError:
        return
    for statement in statements[:1]:
        migration.add_statement(report.sql, report.line or 1, statement.kind, statement.node, report=report)


def make_judge(
    settings: Settings,
    rule_set: RuleSet,
    *,
    strict: bool = False,
    scope: PlanScope | None = None,
    empty_in_production: frozenset[str] = frozenset(),
) -> Judge:
    """Return a function that adds the findings to a rehearsal's report while its connection is still open.

    Args:
        settings: The settings, with the timeouts that a migration has by default.
        rule_set: The rules.
        strict: True if an ignore needs a reason.
        scope: Tells new migrations from merged ones; ``None`` if all are new.
        empty_in_production: Relations that hold no rows in production, by its statistics.

    Raises, when called:
        MigrationFault: A migration ignores a rule that does not exist.
    """

    def judge(conn: Connection[Any], report: Report, works: tuple[PreparedMigration, ...]) -> Report:
        from confiture.rules.live_schema import find_empty_relations, read_schema_model

        migrations = read_rehearsed(
            report,
            works,
            settings.root,
            lock_timeout=settings.lock_timeout,
            statement_timeout=settings.statement_timeout,
            scope=scope,
            empty_in_production=empty_in_production,
        )
        # A migration can lose the connection; the rules then judge without the catalog.
        if not conn.closed:
            link_plan(migrations, lambda: read_schema_model(conn, settings.schema, works[0].version))
        refuse_unknown(migrations, rule_set.known)
        empty = () if conn.closed else find_empty_relations(conn, report)
        findings = find_findings(migrations, rule_set, empty=empty, strict=strict)
        return evolve(report, findings=findings, rules=describe_rules(rule_set.rules, findings))

    return judge
