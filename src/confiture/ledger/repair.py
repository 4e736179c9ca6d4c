"""The ways on where the ledger is not what it should be: show them, and change the ledger when told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault, MigrationFaults, SourceFault, UsageFault
from confiture.ledger.migration_lock import find_lock_holder
from confiture.ledger.table import Ledger
from confiture.ledger.verify import find_file_disagreements
from confiture.ledger.writer import open_ledger_writer
from confiture.migrations.folder import hash_text, read_folder
from confiture.migrations.planner import find_script
from confiture.migrations.version import parse_version
from confiture.models.ledger import (
    HookProgress,
    InvalidIndex,
    LedgerEntry,
    Repair,
    StatementProgress,
    UnfinishedMigration,
)
from confiture.models.migration import MigrationFile, Statement
from confiture.postgres.connect import open_connection
from confiture.postgres.invalid_indexes import parse_build
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.quote import quote_ident


def read_repair(settings: Settings, version: str | None = None) -> Repair:
    """Return what is unfinished, changed or missing, and the way on; of one version where one is given.

    Raises:
        UsageFault: There is no such version, neither in the folder nor in the ledger.
    """
    scripts = _read_scripts(settings)
    ledger = Ledger(settings.schema)
    with open_connection(settings) as conn:
        entries = ledger.read(conn)
        wanted = None if version is None else _resolve_version(version, scripts, entries)
        running = find_lock_holder(conn, settings.schema)
        unfinished = tuple(
            _describe_unfinished(
                conn, read_progress(conn, ledger, entry), _find_script(scripts, entry), running
            )
            for entry in sorted(entries, key=lambda entry: parse_version(entry.version))
            if not entry.finished and wanted in (None, parse_version(entry.version))
        )
    disagreements = tuple(
        disagreement
        for disagreement in find_file_disagreements(scripts, entries)
        if disagreement.what != "unfinished" and wanted in (None, parse_version(disagreement.version))
    )
    return Repair(unfinished, disagreements)


def accept_changed(settings: Settings, version: str) -> Repair:
    """Write the checksum of a file, as it is now, into the ledger.

    Raises:
        UsageFault: There is no such file, or it was not applied.
        LockFault: Another run holds the migration lock.
    """
    script = find_script(read_folder(settings.migrations), version)
    with open_ledger_writer(settings) as recording:
        entry = _find_applied(recording.read_entries(), script)
        if entry.checksum in (None, script.checksum):
            return Repair(done=(f"{script.label} has not changed: nothing to do",))
        recording.write(recording.ledger.render_accept_sql(entry.version, script.checksum))
    return Repair(done=(f"the file of {script.label} is accepted as it is now",))


def forget(settings: Settings, version: str) -> Repair:
    """Take a migration out of the ledger whose file is missing, or that is unfinished.

    Raises:
        UsageFault: The ledger does not know it, or there is nothing wrong with it.
        LockFault: Another run holds the migration lock.
    """
    scripts = _read_scripts(settings)
    with open_ledger_writer(settings) as recording:
        entries = recording.read_entries()
        wanted = _resolve_version(version, (), entries)
        those = [entry for entry in entries if parse_version(entry.version) == wanted]
        if all(entry.finished for entry in those) and _find_script(scripts, those[0]):
            raise UsageFault(
                f"{_format_label(those[0])} is applied and its file is there: nothing to forget",
                hint="undo it: confiture down",
            )
        written = dict.fromkeys(entry.version for entry in those)
        recording.write(" ".join(map(recording.ledger.render_delete_sql, written)))
    return Repair(
        done=(f"{_format_label(those[0])} is forgotten; what it did in the database is still there",)
    )


def _read_scripts(settings: Settings) -> tuple[MigrationFile, ...]:
    """Return the scripts; a folder that is empty is no reason not to repair."""
    try:
        return read_folder(settings.migrations)
    except SourceFault:
        if settings.migrations.is_dir():
            return ()
        raise


def _resolve_version(
    version: str, scripts: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
) -> tuple[int, ...]:
    wanted = parse_version(version)
    versions = (*(script.version for script in scripts), *(entry.version for entry in entries))
    if wanted not in map(parse_version, versions):
        raise UsageFault(
            f"neither the ledger nor the folder knows version {version!r}"
            if scripts
            else f"the ledger knows no version {version!r}",
            hint="list them: confiture status",
        )
    return wanted


def _find_script(scripts: tuple[MigrationFile, ...], entry: LedgerEntry) -> MigrationFile | None:
    return next(
        (script for script in scripts if parse_version(script.version) == parse_version(entry.version)), None
    )


def _find_applied(entries: tuple[LedgerEntry, ...], script: MigrationFile) -> LedgerEntry:
    for entry in entries:
        if entry.finished and parse_version(entry.version) == parse_version(script.version):
            return entry
    raise UsageFault(
        f"{script.label} is not applied: there is no checksum to replace",
        hint="list what is: confiture status",
    )


def _describe_unfinished(
    conn: Connection[Any], progress: RecordedProgress, script: MigrationFile | None, running: str | None
) -> UnfinishedMigration:
    entry = progress.entry
    statements, unreadable = _read_statements(script, entry)
    states = determine_statement_progress(statements, progress.steps)
    left = find_invalid_indexes(conn, statements)
    notes = (
        *([f"a run is at work right now: {running}"] if running else []),
        *([f"its file cannot be read: {unreadable}"] if unreadable else []),
        *_make_notes(progress, script, states, left),
    )
    return UnfinishedMigration(
        version=entry.version,
        name=script.name if script else entry.name,
        direction=entry.direction,
        file=str(_choose_file(script, entry)) if script else None,
        # A Python migration tells its statements when it runs; they are counted in the notes.
        statements=states if statements else (),
        hooks=progress.hooks,
        invalid_indexes=left,
        notes=notes,
        commands=_list_commands(entry, script, left),
    )


def _choose_file(script: MigrationFile, entry: LedgerEntry) -> Any:
    down = script.down_path if entry.direction == "backward" else None
    return down or script.path


def _read_statements(
    script: MigrationFile | None, entry: LedgerEntry
) -> tuple[tuple[Statement, ...], str | None]:
    """Return the statements of the file, and why there are none where it is faulty."""
    from confiture.sql.script import read_sql

    if script is None or script.kind == "python":
        return (), None
    try:
        parsed = read_sql(script, entry.direction)
    except (MigrationFault, MigrationFaults) as fault:
        return (), fault.message
    return (parsed.statements if parsed else ()), None


def _make_notes(
    progress: RecordedProgress,
    script: MigrationFile | None,
    states: tuple[StatementProgress, ...],
    leftover_indexes: tuple[InvalidIndex, ...],
) -> list[str]:
    notes = []
    if script is None:
        notes.append("its file is missing: restore it, and go on with a run; or forget the migration")
    elif script.kind == "python":
        done = sum(step.done_at is not None for step in progress.steps.values())
        notes.append(f"a Python migration starts over; statements that had run before it was stopped: {done}")
    if any(state.state == "changed" for state in states) and script and script.kind == "sql":
        notes.append(
            "what was done has another text now: restore that part of the file, and go on; or start over "
            f"from the top: confiture repair --forget {progress.entry.version}"
        )
    if any(state.state == "begun" for state in states):
        notes.append("whether the statement that was begun has ended is not recorded")
    for index in leftover_indexes:
        if index.builder_pid is not None:
            notes.append(
                f"pid {index.builder_pid} is still building {index.index}: wait until it has ended, "
                "and look again"
            )
    return notes


def _list_commands(
    entry: LedgerEntry, script: MigrationFile | None, leftover_indexes: tuple[InvalidIndex, ...]
) -> tuple[str, ...]:
    """Return the exact next commands, in order."""
    if script is None:
        return (f"confiture repair --forget {entry.version}",)
    if any(index.builder_pid is not None for index in leftover_indexes):
        return (f"confiture repair {entry.version}",)
    drops = (f"DROP INDEX CONCURRENTLY {index.index};" for index in leftover_indexes)
    return (*drops, "confiture run" if entry.direction == "forward" else "confiture down")


def _format_label(entry: LedgerEntry) -> str:
    return f"{entry.version} {entry.name}".rstrip()


@frozen
class RecordedStep:
    """One statement as the ledger has recorded it.

    Attributes:
        sha256: Of its text.
        begun_at: ISO 8601.
        done_at: The same; ``None`` where it is not known to have ended.
    """

    sha256: str
    begun_at: str
    done_at: str | None


@frozen
class RecordedProgress:
    """All that the ledger has recorded of an unfinished migration.

    Attributes:
        entry: The migration.
        steps: Its statements, by their number from 0.
        hooks: What its generator hooks yielded last.
    """

    entry: LedgerEntry
    steps: Mapping[int, RecordedStep] = field(factory=dict)
    hooks: tuple[HookProgress, ...] = ()


def read_progress(conn: Connection[Any], ledger: Ledger, entry: LedgerEntry) -> RecordedProgress:
    """Return what is recorded of ``entry``; read rights are enough."""
    q, which = quote_ident(ledger.schema), _render_where(entry)
    steps = ledger.select(
        conn,
        f"SELECT step, statement_sha256, {_render_time('begun_at')}, {_render_time('done_at')} FROM "
        f"{q}.progress {which}",
    )
    hooks = ledger.select(
        conn, f"SELECT phase, plugin, hook, progress FROM {q}.hook_progress {which} ORDER BY at"
    )
    return RecordedProgress(
        entry,
        {step: RecordedStep(*recorded) for step, *recorded in steps},
        tuple(HookProgress(*hook) for hook in hooks),
    )


def _render_where(entry: LedgerEntry) -> str:
    return f"WHERE (version, direction) = ({quote_literal(entry.version)}, {quote_literal(entry.direction)})"


def _render_time(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""


def determine_statement_progress(
    statements: Sequence[Statement], steps: Mapping[int, RecordedStep]
) -> tuple[StatementProgress, ...]:
    """Return the state of each statement of the file, and of those that it no longer has."""
    known = [_determine_state(statement, steps.get(number)) for number, statement in enumerate(statements)]
    gone = [
        StatementProgress(None, "", "changed", step.done_at)
        for number, step in sorted(steps.items())
        if number >= len(statements) and step.done_at
    ]
    return (*known, *gone)


def _determine_state(statement: Statement, step: RecordedStep | None) -> StatementProgress:
    if step is None:
        return StatementProgress(statement.line, statement.sql, "pending")
    if step.done_at is None:
        return StatementProgress(statement.line, statement.sql, "begun", step.begun_at)
    same = step.sha256 == hash_text(statement.sql)
    return StatementProgress(statement.line, statement.sql, "done" if same else "changed", step.done_at)


def find_invalid_indexes(conn: Connection[Any], statements: Sequence[Statement]) -> tuple[InvalidIndex, ...]:
    """Return the invalid indexes that these statements have left, and who is still building one."""
    builds = [parse_build(statement.sql) for statement in statements if not statement.in_transaction]
    names = sorted({name for build in builds if build for name in build.find_invalid(conn)})
    return tuple(InvalidIndex(name, _find_builder(conn, name)) for name in names)


def _find_builder(conn: Connection[Any], index: str) -> int | None:
    """Return the session that builds it: a client that was killed leaves its server process at work."""
    found = fetch_rows(
        conn,
        "SELECT pid FROM pg_stat_progress_create_index"
        f" WHERE datname = current_database() AND index_relid = to_regclass({quote_literal(index)})",
    )
    return found[0][0] if found else None
