"""Check migration files without a server, by their text alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.config.gate_policy import FailOn
from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault, SourceFault
from confiture.migrations.file_notes import format_names
from confiture.models.migration import MigrationFile
from confiture.models.report import Finding, MigrationReport, Report
from confiture.rules.describe_rules import describe_rules
from confiture.rules.evaluate import RuleSet, find_findings, has_failure, select_rules
from confiture.rules.new_relations import PlanScope, mark_new_relations
from confiture.rules.parallel import run_in_processes
from confiture.rules.parse_files import make_loose_script, read_all, read_script, show_path
from confiture.rules.parse_tree import QualifiedName
from confiture.rules.registry import collect_rules, read_severities
from confiture.rules.suppressions import refuse_unknown
from confiture.sources.read_migrations import PLAIN, read_migrations

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

NOT_REHEARSED = "read, not rehearsed"
NO_SEVERITY: Mapping[str, object] = MappingProxyType({})


def lint(
    settings: Settings,
    plugins: Sequence[LoadedPlugin] = (),
    files: Sequence[Path] = (),
    *,
    severity: Mapping[str, object] = NO_SEVERITY,
    fail_on: FailOn = "error",
    strict: bool = False,
    allow_empty: bool = False,
    scope: PlanScope | None = None,
    checked: PlanScope | None = None,
) -> Report:
    """Return a report with the findings about these files, or about the migrations folder if there are none.

    Args:
        settings: The settings, with the migrations folder.
        plugins: The plugins whose rules count too.
        files: Files and folders.
        severity: The configured severities.
        fail_on: What makes the exit code 1.
        strict: True if an ignore needs a reason.
        allow_empty: True if having no file is no fault.
        scope: Says what is merged, and so not new; ``None`` if nobody knows.
        checked: Says which files are checked; a fault of another one is only noted. ``None`` for all.

    Raises:
        ConfitureError: There is no file, a file does not parse, or a severity is not valid.
    """
    rules = collect_rules(plugins)
    rule_set = select_rules(rules, read_severities(severity, rules))
    scripts = _choose_scripts(settings, files, allow_empty=allow_empty)
    # Without a server nobody knows which files are applied, unless git tells which are not merged.
    new = _find_new(scripts, settings.root, scope) if scope else {}
    findings, undecided, unread = run_in_processes(
        lambda share: _judge_scripts(settings, rule_set, share, new, checked, strict=strict), scripts
    )
    return Report(
        mode="dry-run",
        outcome="ok",
        exit_code=1 if has_failure(findings, fail_on) else 0,
        migrations=tuple(
            MigrationReport(script.version, script.name, "pending", NOT_REHEARSED)
            for script in scripts
            if show_path(script.path, settings.root) not in unread
        ),
        findings=findings,
        rules=describe_rules(rules, findings),
        plugins=tuple(plugin.use for plugin in plugins),
        notes=_make_notes(sorted(undecided), unread, _find_generated(scripts, settings.root)),
    )


_NewRelations = Mapping[str, tuple[frozenset[QualifiedName], frozenset[QualifiedName]]]


def _find_new(scripts: Sequence[MigrationFile], root: Path, scope: PlanScope) -> _NewRelations:
    """Return what is new to each file, and what merged ones create: a process sees only its share."""
    parsed = []
    for script in scripts:
        # A file that does not parse is reported when it is judged.
        with suppress(MigrationFault):
            parsed.append(read_script(script, root))
    mark_new_relations(parsed, scope)
    return {
        migration.file: (migration.created_before, migration.there_before)
        for migration in parsed
        if scope.includes(migration.version, migration.file)
    }


def _judge_scripts(
    settings: Settings,
    rule_set: RuleSet,
    scripts: Sequence[MigrationFile],
    new: _NewRelations,
    checked: PlanScope | None,
    *,
    strict: bool,
) -> tuple[tuple[Finding, ...], frozenset[str], frozenset[str]]:
    """Return the findings about some files, the rules that could not decide, and the files not read."""
    migrations = read_all(scripts, settings.root, checked)
    refuse_unknown(migrations, rule_set.known)
    unread = {show_path(script.path, settings.root) for script in scripts} - {
        migration.file for migration in migrations
    }
    for migration in migrations:
        migration.created_before, migration.there_before = new.get(migration.file, (frozenset(), frozenset()))
        migration.lock_timeout = migration.lock_timeout or settings.lock_timeout
        migration.statement_timeout = migration.statement_timeout or settings.statement_timeout
    findings = find_findings(migrations, rule_set, strict=strict)
    return findings, frozenset(rule_set.undecided), frozenset(unread)


def _find_generated(scripts: Iterable[MigrationFile], root: Path) -> frozenset[str]:
    """Return the files that another tool makes SQL of."""
    return frozenset(
        show_path(script.path, root)
        for script in scripts
        if script.kind == "sql" and script.path.suffix == ".py"
    )


def _make_notes(rules: Sequence[str], unread: frozenset[str], generated: frozenset[str]) -> tuple[str, ...]:
    faulty, unwritten = sorted(unread - generated), sorted(unread & generated)
    notes = [f"faulty, but not among the files to check: {format_names(faulty)}"] if faulty else []
    if unwritten:
        notes.append(f"not checked, as no SQL can be made of it: {format_names(unwritten)}")
    return (*notes, *([f"only a dry-run can check: {', '.join(rules)}"] if rules else ()))


def _choose_scripts(
    settings: Settings, files: Sequence[Path], *, allow_empty: bool
) -> tuple[MigrationFile, ...]:
    folders = [file for file in files if file.is_dir()] if files else [settings.migrations]
    scripts = {
        folder: _read_folder(evolve(settings, migrations=folder), allow_empty=allow_empty)
        for folder in folders
    }
    loose = _read_files(settings, [file for file in files if file not in scripts])
    return tuple(
        script for file in files or folders for script in (loose[file] if file in loose else scripts[file])
    )


def _read_files(settings: Settings, files: Sequence[Path]) -> dict[Path, tuple[MigrationFile, ...]]:
    """Return the migrations of single files; those of the folder are read as its convention says."""
    if settings.source in (None, PLAIN) or not files:
        return {file: (make_loose_script(file, settings.variables),) for file in files}
    by_path: dict[Path, list[MigrationFile]] = {}
    for migration in read_migrations(settings):
        by_path.setdefault(migration.path.resolve(), []).append(migration)
    return {
        file: tuple(by_path.get(file.resolve()) or [make_loose_script(file, settings.variables)])
        for file in files
    }


def _read_folder(settings: Settings, *, allow_empty: bool) -> tuple[MigrationFile, ...]:
    try:
        return read_migrations(settings)
    except SourceFault:
        if allow_empty:
            return ()
        raise
