"""Load the ``Migration`` class of a Python file."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from confiture.exceptions import MigrationFault, UsageFault, describe_error
from confiture.migrations.other_tools import recognize_python
from confiture.migrations.version import parse_version
from confiture.models.migration import Migration, MigrationFile
from confiture.sql.position import extract_line


def load_migration(script: MigrationFile) -> type[Migration]:
    """Run a Python file and return the migration it defines, with version and name set.

    Runs the text that was read before, so that the checksum is that of the code that runs. Leaves no
    ``__pycache__`` behind.

    Raises:
        MigrationFault: It fails to import, or does not define exactly one ``Migration`` matching its name.
    """
    tree = _parse_python(script)
    module = _run_module(script, tree)
    found = _find_migrations(module)
    usable = [migration for migration in found if not inspect.isabstract(migration)]
    if len(usable) != 1:
        raise _build_count_fault(script, tree, found, usable)
    _check_definition(script, usable[0])
    return _assign_name(script, tree, usable[0])


def make_migration(script: MigrationFile, migration: type[Migration], conn: Any) -> Migration:
    """Return an instance of a migration's class.

    Raises:
        MigrationFault: Its own ``__init__`` fails, or does not take the connection.
    """
    try:
        return migration(connection=conn)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _build_fault(
            script,
            f"{migration.__name__} in {script.path.name} cannot be made: {describe_error(error)}",
            _find_raising_line(script, error),
            hint="leave its __init__ out, or begin it with: def __init__(self, connection): "
            "super().__init__(connection)",
        ) from error


def has_down(migration: type[Migration]) -> bool:
    """Return True if a migration defines ``down()``."""
    return migration.down is not Migration.down


def _parse_python(script: MigrationFile) -> ast.Module:
    try:
        return ast.parse(script.text, filename=str(script.path))
    except SyntaxError as error:
        raise _build_fault(script, f"{script.path.name}: {error.msg}", error.lineno, error.offset) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _build_fault(script, f"{script.path.name} cannot be read as Python: {error}") from None


def _run_module(script: MigrationFile, tree: ast.Module) -> ModuleType:
    module = ModuleType(_make_module_name(script.path))
    module.__file__ = str(script.path)
    module.__package__ = ""
    # dataclasses and attrs look up a class's module in sys.modules.
    sys.modules[module.__name__] = module
    try:
        # Without dont_inherit this module's own `from __future__ import annotations` would apply to it.
        exec(compile(tree, str(script.path), "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _build_import_fault(script, error) from error
    return module


def _make_module_name(path: Path) -> str:
    return f"confiture_migration_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}"


def _find_migrations(module: ModuleType) -> list[type[Migration]]:
    # By __module__, to leave out imported classes; a set, because one class may have several names.
    classes = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Migration) and value.__module__ == module.__name__
    }
    return sorted(classes, key=lambda class_: class_.__qualname__)


def _build_count_fault(
    script: MigrationFile, tree: ast.Module, found: list[type[Migration]], usable: list[type[Migration]]
) -> MigrationFault:
    if usable:
        lines = {migration.__name__: _find_class_line(tree, migration) for migration in usable}
        listed = ", ".join(f"{name} (line {line})" for name, line in lines.items())
        return _build_fault(
            script,
            f"{script.path.name} defines {len(usable)} migrations: {listed}",
            max(line or 0 for line in lines.values()) or None,
            hint="define one Migration per file; move the others to separate files",
        )
    if found:
        missing = ", ".join(sorted(f"{name}()" for name in found[0].__abstractmethods__))
        return _build_fault(
            script,
            f"{found[0].__name__} in {script.path.name} has no {missing}",
            _find_class_line(tree, found[0]),
            hint="write def up(self) with the change",
        )
    tool = recognize_python(script.text, script.path.name)
    return _build_fault(
        script,
        f"{script.path.name} defines no Migration" + (f"; it is one of {tool.name}" if tool else ""),
        hint=tool.way
        if tool
        else "write one: from confiture.models.migration import Migration, and a class derived from it",
    )


def _assign_name(script: MigrationFile, tree: ast.Module, migration: type[Migration]) -> type[Migration]:
    line = _find_class_line(tree, migration)
    if migration.version and not _is_same_version(migration.version, script.version):
        raise _build_mismatch_fault(script, line, "version", migration.version, script.version)
    if migration.name and script.name and migration.name != script.name:
        raise _build_mismatch_fault(script, line, "name", migration.name, script.name)
    migration.version = script.version
    migration.name = migration.name or script.name
    return migration


def _is_same_version(written: object, version: str) -> bool:
    try:
        return isinstance(written, str) and parse_version(written) == parse_version(version)
    except UsageFault:
        return False


def _build_mismatch_fault(
    script: MigrationFile, line: int | None, attribute: str, written: object, named: str
) -> MigrationFault:
    return _build_fault(
        script,
        f"the {attribute} in {script.path.name} is {written!r}, its file name says {named!r}",
        line,
        hint=f"remove {attribute} from the class, or make the two equal",
    )


def _find_class_line(tree: ast.Module, migration: type[Migration]) -> int | None:
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == migration.__name__
    ]
    return lines[-1] if lines else None


def _check_definition(script: MigrationFile, migration: type[Migration]) -> None:
    """Refuse an async or generator method, which would run nothing, and a wrong ``transactional``."""
    for name in ("up", "down", "verify"):
        function = getattr(migration, name)
        generator = inspect.isgeneratorfunction(function)
        if generator or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise _build_fault(
                script,
                f"{name}() in {script.path.name} is {'a generator' if generator else 'async'}: nothing of it "
                "would run",
                function.__code__.co_firstlineno,
                hint=f"write def {name}(self) without {'yield' if generator else 'async and await'}",
            )
    if not isinstance(migration.transactional, bool):
        raise _build_fault(
            script,
            f"transactional in {script.path.name} is {migration.transactional!r}",
            hint="write transactional = True or transactional = False",
        )


def _find_raising_line(script: MigrationFile, error: BaseException) -> int | None:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(script.path)
    ]
    return lines[-1] if lines else None


def _build_import_fault(script: MigrationFile, error: BaseException) -> MigrationFault:
    reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    tool = recognize_python(script.text, script.path.name)
    return _build_fault(
        script,
        f"{script.path.name} fails to import: {reason}",
        _find_raising_line(script, error),
        hint=tool.way if tool else "correct that line, or install the packages it needs next to confiture",
    )


def _build_fault(
    script: MigrationFile,
    message: str,
    line: int | None = None,
    column: int | None = None,
    *,
    hint: str | None = None,
) -> MigrationFault:
    return MigrationFault(
        message,
        hint=hint,
        file=script.path,
        line=line,
        column=column,
        source_line=extract_line(script.text, line) if line else None,
    )
