"""Parse and check migrations before anything touches the database."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture.exceptions import MigrationFault, MigrationFaults
from confiture.migrations.folder import check_text, hash_text, read_text
from confiture.migrations.planner import find_unfinished
from confiture.migrations.sql_migration import CheckedSqlMigration, SqlMigration
from confiture.migrations.version import parse_filename
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Direction, Migration, MigrationFile, SqlScript, Statement
from confiture.units import check_timeout


@frozen
class PreparedMigration:
    """One migration to run in one direction.

    Attributes:
        version: As written.
        name: As written.
        direction: ``"forward"`` or ``"backward"``.
        checksum: The checksum of its file; ``None`` without a file.
        file: The file with its statements.
        make: Creates a new migration object on a connection; each retry needs a new one.
        script: Its statements, for an SQL migration.
        transactional: True if it runs in a transaction.
        recorded: Its ledger entry, if it is unfinished.
        repeatable: True if it may be in the ledger already.
    """

    version: str
    name: str
    direction: Direction
    checksum: str | None
    file: Path | None
    make: Callable[[Connection[Any]], Migration]
    script: SqlScript | None = None
    transactional: bool = True
    recorded: LedgerEntry | None = None
    repeatable: bool = False

    @property
    def label(self) -> str:
        """Version and name, for people."""
        return f"{self.version} {self.name}".rstrip()


def prepare(scripts: tuple[MigrationFile, ...], direction: Direction) -> tuple[PreparedMigration, ...]:
    """Return the scripts as migrations that are ready to run.

    Raises:
        MigrationFault: A file is faulty.
        MigrationFaults: Several files are faulty.
    """
    prepared: list[PreparedMigration] = []
    faults: list[MigrationFault] = []
    for script in scripts:
        try:
            prepared.append(_prepare(script, direction))
        except MigrationFaults as several:
            faults += several.faults
        except MigrationFault as fault:
            faults.append(fault)
    if len(faults) > 1:
        raise MigrationFaults(faults)
    if faults:
        raise faults[0]
    return tuple(prepared)


def _prepare(script: MigrationFile, direction: Direction) -> PreparedMigration:
    check_text(script.path, script.text)
    if direction == "backward" and script.down_path is not None:
        check_text(script.down_path, script.down_text or "")
    return _prepare_python(script, direction) if script.kind == "python" else _prepare_sql(script, direction)


def prepare_instance(migration: Migration, direction: Direction) -> PreparedMigration:
    """Prepare a migration object that an application passes in; the first attempt uses that object.

    Raises:
        MigrationFault: One of its timeouts, its version or its name cannot be used.
    """
    unused: list[Migration] = [migration]

    def make(conn: Connection[Any]) -> Migration:
        instance = unused.pop() if unused else type(migration)(connection=conn)
        # The application may have built it on another connection; changes made there would not be protected
        # by the lock, and not rolled back.
        instance.connection = conn
        return instance

    script = _find_script(type(migration))
    check_timeouts(migration, script.path if script else None)
    version = migration.version or (script.version if script else "")
    name = migration.name or (script.name if script else "")
    _check_storable(version + name)
    return PreparedMigration(
        version=version,
        name=name,
        direction=direction,
        checksum=script.checksum if script else None,
        file=script.path if script else None,
        make=make,
        transactional=migration.transactional,
    )


def _check_storable(text: str) -> None:
    # A lone surrogate has no encoding.
    if "\0" in text or text.encode(errors="ignore").decode() != text:
        raise MigrationFault(
            f"the version or name of a migration contains a character that PostgreSQL refuses: {text!r}",
            hint="the ledger stores both as UTF-8, without NUL",
        )


def _find_script(migration: type[Migration]) -> MigrationFile | None:
    """Return the migration file that defines a class; ``None`` if its file is not a migration file."""
    try:
        path = Path(inspect.getfile(migration))
    except (TypeError, OSError):
        return None
    file_name = parse_filename(path.name)
    if file_name is None or not path.is_file():
        return None
    text = read_text(path)
    return MigrationFile(file_name.version, file_name.name, "python", path, text, hash_text(text))


def _prepare_sql(script: MigrationFile, direction: Direction) -> PreparedMigration:
    from confiture.sql.script import read_check_sql, read_sql

    parsed = read_sql(script, direction)
    if parsed is None:
        raise build_no_down_fault(script)
    if script.check is not None and direction == "forward":
        check_text(script.check.path, script.check.text)
        parsed = evolve(parsed, check=read_check_sql(script.check))

    return PreparedMigration(
        script.version,
        script.name,
        direction,
        script.checksum,
        parsed.file,
        partial(_make_sql_migration, parsed),
        parsed,
        parsed.transactional,
        repeatable=script.repeatable,
    )


def _make_sql_migration(script: SqlScript, conn: Connection[Any]) -> Migration:
    migration = CheckedSqlMigration(conn, script) if script.check else SqlMigration(conn, script)
    migration.transactional = script.transactional
    migration.lock_timeout = script.lock_timeout
    migration.statement_timeout = script.statement_timeout
    return migration


def skip_statements(work: PreparedMigration, count: int) -> PreparedMigration:
    """Return an SQL migration without its first ``count`` statements, except those that set the session."""
    if work.script is None or not count:
        return work
    statements = work.script.statements
    script = evolve(work.script, statements=(*select_settings(statements[:count]), *statements[count:]))
    return evolve(work, script=script, make=partial(_make_sql_migration, script))


def select_settings(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return the SET and RESET statements whose effect ends with the session, and not with a commit."""
    settings: list[Statement] = []
    for statement in statements:
        # DISCARD ALL resets settings; the other forms of DISCARD may run in a transaction, and reset none.
        if statement.kind == "discard_stmt" and not statement.in_transaction:
            settings.clear()
        elif statement.kind == "variable_set_stmt" and not statement.node.variable_set_stmt.is_local:
            settings.append(statement)
    return tuple(settings)


def _prepare_python(script: MigrationFile, direction: Direction) -> PreparedMigration:
    from confiture.migrations.python_file import has_down, load_migration, make_migration

    migration = load_migration(script)
    check_timeouts(migration, script.path)
    if direction == "backward" and not has_down(migration):
        raise build_no_down_fault(script)
    return PreparedMigration(
        version=script.version,
        name=script.name,
        direction=direction,
        checksum=script.checksum,
        file=script.path,
        make=partial(make_migration, script, migration),
        transactional=migration.transactional,
    )


def check_timeouts(migration: Migration | type[Migration], file: Path | None) -> None:
    """Refuse timeouts of a Python migration that have no unit or that PostgreSQL would reject.

    Raises:
        MigrationFault: It names the attribute.
    """
    for name in ("lock_timeout", "statement_timeout"):
        value = getattr(migration, name)
        try:
            if value is not None:
                check_timeout(str(value))
        except ValueError as error:
            hint = f'write it as {name} = "5s"'
            raise MigrationFault(f"{name}: {error}", hint=hint, file=file) from None


def add_records(
    works: Iterable[PreparedMigration], entries: Sequence[LedgerEntry]
) -> tuple[PreparedMigration, ...]:
    """Return the migrations with the ledger's records of those that are unfinished."""
    return tuple(
        evolve(work, recorded=find_unfinished(entries, work.version, work.direction)) for work in works
    )


def build_no_down_fault(script: MigrationFile) -> MigrationFault:
    """Return the fault for a migration that cannot be undone."""
    name = script.path.name
    if script.kind == "python":
        way = "write a down() method"
    elif name.endswith(".up.sql"):
        way = f"write {name.removesuffix('.up.sql')}.down.sql; an empty one undoes nothing"
    elif name == "up.sql":
        way = f"write {script.path.parent.name}/down.sql; an empty one undoes nothing"
    elif script.divide is not None:
        way = "write a new migration that undoes it, or its down part if its tool reads one"
    else:
        way = "write what undoes it below a line `-- migrate:down`; a comment there says that nothing does"
    return MigrationFault(f"migration {script.label} has no down part", hint=way, file=script.path)
