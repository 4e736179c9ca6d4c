"""Parse migration files for the rules, without running anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from confiture.exceptions import MigrationFault, MigrationFaults, RenderFault
from confiture.migrations.folder import check_text, read_text
from confiture.migrations.version import parse_filename
from confiture.models.migration import MigrationFile, SqlScript
from confiture.rules.new_relations import PlanScope
from confiture.rules.parsed_migration import ParsedMigration, link_plan
from confiture.sql.parser import ParseError, parse
from confiture.sql.script import read_sql


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
