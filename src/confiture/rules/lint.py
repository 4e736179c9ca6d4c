"""Check migration files without a server, by their text alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import evolve

from confiture.config.gate_policy import FailOn
from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault, MigrationFaults, RenderFault, SourceFault
from confiture.migrations.file_notes import format_names
from confiture.migrations.folder import check_text, read_text
from confiture.migrations.version import parse_filename
from confiture.models.migration import MigrationFile, SqlScript
from confiture.models.report import Finding, MigrationReport, Report
from confiture.rules.describe_rules import describe_rules
from confiture.rules.evaluate import RuleSet, find_findings, has_failure, select_rules
from confiture.rules.new_relations import PlanScope, mark_new_relations
from confiture.rules.parallel import run_in_processes
from confiture.rules.parse_tree import QualifiedName
from confiture.rules.parsed_migration import ParsedMigration, link_plan
from confiture.rules.registry import collect_rules, read_severities
from confiture.rules.suppressions import refuse_unknown
from confiture.sources.read_migrations import PLAIN, read_migrations
from confiture.sql.parser import ParseError, parse
from confiture.sql.script import read_sql

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

NOT_REHEARSED = "read, not rehearsed"
NO_SEVERITY: Mapping[str, object] = MappingProxyType({})


def read_script(script: MigrationFile, root: Path) -> ParsedMigration:
    """Parse the forward migration of a file for the rules.

    Raises:
        MigrationFault: The file does not parse.
    """
    check_text(script.path, script.text)
    if script.kind == "python":
        return read_python(script, root)
    # Statements that a run would refuse, such as COMMIT, are kept: rules report them with the safer way.
    parsed = read_sql(script, "forward", keep_refused=True)
    assert parsed is not None
    return parse_migration(script.version, script.name, parsed, root)


def parse_migration(version: str, name: str, parsed: SqlScript, root: Path) -> ParsedMigration:
    """Return a parsed SQL script as a migration for the rules."""
    migration = ParsedMigration(
        version,
        name,
        show_path(parsed.file, root),
        transactional=parsed.transactional,
        lock_timeout=parsed.lock_timeout,
        statement_timeout=parsed.statement_timeout,
        ignores=parsed.ignores,
        text=parsed.text,
        divider=parsed.divider,
    )
    for statement in parsed.statements:
        migration.add_statement(
            statement.sql,
            statement.line,
            statement.kind,
            statement.node,
            ignores=statement.ignores,
            span=(statement.start, statement.end),
        )
    return migration


def show_path(file: Path, root: Path) -> str:
    """Return the path to show: relative to ``root`` if it is inside, with slashes on every system."""
    # Plain strings are faster than Path.relative_to(), which counts with thousands of files.
    absolute = (file if file.is_absolute() else Path.cwd() / file).as_posix()
    prefix = f"{root.as_posix().rstrip('/')}/"
    return absolute.removeprefix(prefix) if absolute.startswith(prefix) else file.as_posix()


def make_loose_script(path: Path, variables: Mapping[str, str] | None = None) -> MigrationFile:
    """Return a file that the user named as a script; its name need not be that of a migration.

    Raises:
        MigrationFault: The file cannot be read.
    """
    named = parse_filename(path.name)
    text = read_text(path)
    kind: Any = "python" if path.suffix == ".py" else "sql"
    version, name = (named.version, named.name) if named else ("", path.stem)
    return MigrationFile(version, name, kind, path, text, "", variables=variables)


def read_all(
    scripts: Iterable[MigrationFile], root: Path, checked: PlanScope | None = None
) -> tuple[ParsedMigration, ...]:
    """Parse all migrations for the rules, in order, and link them to one plan.

    Leaves out a faulty file that is not ``checked``: it is merged or applied, and nobody may change it.

    Raises:
        MigrationFault: One file does not parse.
        MigrationFaults: Several files do not parse.
    """
    migrations: list[ParsedMigration] = []
    faults: list[MigrationFault] = []
    for script in scripts:
        try:
            migrations.append(read_script(script, root))
        except RenderFault:
            # It is no fault of the file: it does what only its tool can.
            continue
        except MigrationFault as fault:
            if checked is None or checked.includes(script.version, show_path(script.path, root)):
                faults.append(fault)
    if faults:
        raise faults[0] if len(faults) == 1 else MigrationFaults(faults)
    link_plan(migrations)
    return tuple(migrations)


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


def read_python(script: MigrationFile, root: Path) -> ParsedMigration:
    """Read the SQL of a Python migration for the rules without running it.

    Only constant strings that ``up()`` passes to ``self.execute()`` are read; code may build any other text.

    Raises:
        MigrationFault: The file is not valid Python.
    """
    try:
        tree = ast.parse(script.text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise MigrationFault(f"{script.path.name}: {error}", file=script.path, line=line) from None
    migration = ParsedMigration(
        script.version,
        script.name,
        show_path(script.path, root),
        transactional=not _is_non_transactional(tree),
    )
    for line, sql in _find_executed(tree):
        add_statements(migration, sql, line)
    return migration


def add_statements(migration: ParsedMigration, sql: str, line: int) -> None:
    """Add the statements of an SQL text to the migration.

    A text that does not parse is left out: psycopg's placeholders (``%s``) are not valid SQL.
    """
    try:
        statements = parse(sql)
    except ParseError:
        return
    for statement in statements:
        migration.add_statement(sql[statement.start : statement.end], line, statement.kind, statement.node)


def _is_non_transactional(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if "transactional" in names and node.value.value is False:
                return True
    return False


def _find_executed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "up":
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and _is_execute(call) and call.args:
                    first = call.args[0]
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        yield call.lineno, first.value


def _is_execute(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "execute"
        and isinstance(function.value, ast.Name)
        and function.value.id == "self"
    )
