"""Show how to continue if the ledger and the files disagree, and change the ledger on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import MigrationFault, MigrationFaults, SourceFault, UsageFault
from confiture.ledger.migration_lock import find_lock_holder
from confiture.ledger.resume import (
    BegunStatement,
    apply_settings,
    describe_begun,
    examine_begun,
    find_leftover_indexes,
    list_answers,
)
from confiture.ledger.table import Ledger
from confiture.ledger.verify import find_file_disagreements
from confiture.ledger.writer import open_ledger_writer
from confiture.migrations.folder import hash_text
from confiture.migrations.planner import find_script
from confiture.migrations.version import VersionKey, parse_version
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
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.read_migrations import FirstReading, read_first
from confiture.sql.quote import quote_ident
from confiture.sql.timestamp import render_utc


def read_repair(settings: Settings, version: str | None = None) -> Repair:
    """Return the unfinished, changed and missing migrations and the next steps; only ``version``, if given.

    Raises:
        UsageFault: Neither the folder nor the ledger has this version.
    """
    ledger = Ledger(settings.schema)
    first = read_first(settings)
    with open_connection(settings) as conn:
        scripts = settle_scripts(first, conn)
        entries = ledger.read(conn)
        wanted = None if version is None else resolve_version(version, scripts, entries)
        running = find_lock_holder(conn, settings.schema)
        unfinished = tuple(
            _describe_unfinished(conn, read_progress(conn, ledger, entry), find_file(scripts, entry), running)
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
    """Record the checksum of a changed file in the ledger.

    Raises:
        UsageFault: There is no such migration, or it is not applied.
        LockFault: Another run holds the migration lock.
    """
    first = read_first(settings)
    with open_ledger_writer(settings) as writer:
        script = find_script(first.settle(writer.conn).migrations, version)
        entry = _find_applied(writer.read_entries(), script)
        if entry.checksum in (None, script.checksum):
            return Repair(done=(f"{script.label} has not changed: nothing to do",))
        writer.write(writer.ledger.render_accept_sql(entry.version, script.checksum))
    return Repair(done=(f"the file of {script.label} is accepted as it is now",))


def forget(settings: Settings, version: str) -> Repair:
    """Remove a migration from the ledger if its file is missing or it is unfinished.

    Raises:
        UsageFault: It is not in the ledger, or it is applied and its file exists.
        LockFault: Another run holds the migration lock.
    """
    first = read_first(settings)
    with open_ledger_writer(settings) as writer:
        scripts, entries = settle_scripts(first, writer.conn), writer.read_entries()
        wanted = resolve_version(version, (), entries)
        # An unfinished down has two entries: its progress and the row of the applied migration.
        matching = [entry for entry in entries if parse_version(entry.version) == wanted]
        label = format_label(matching[0])
        if all(entry.finished for entry in matching) and find_file(scripts, matching[0]):
            raise UsageFault(
                f"{label} is applied and its file exists: nothing to forget",
                hint="undo it: confiture down",
            )
        versions = dict.fromkeys(entry.version for entry in matching)
        writer.write(" ".join(map(writer.ledger.render_delete_sql, versions)))
    return Repair(done=(f"{label} is forgotten; its changes in the database remain",))


def settle_scripts(first: FirstReading, conn: Connection[Any]) -> tuple[MigrationFile, ...]:
    """Return the scripts; none if the folder is empty, because the ledger can still be repaired."""
    try:
        return first.settle(conn).migrations
    except SourceFault:
        if first.settings.migrations.is_dir():
            return ()
        raise


def resolve_version(
    version: str, scripts: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
) -> VersionKey:
    """Return the key of a version that the folder or the ledger has.

    Raises:
        UsageFault: Neither has it.
    """
    wanted = parse_version(version)
    versions = (*(script.version for script in scripts), *(entry.version for entry in entries))
    if wanted not in map(parse_version, versions):
        raise UsageFault(
            f"version {version!r} is neither in the ledger nor in the migrations folder"
            if scripts
            else f"version {version!r} is not in the ledger",
            hint="list them: confiture status",
        )
    return wanted


def find_file(scripts: tuple[MigrationFile, ...], entry: LedgerEntry) -> MigrationFile | None:
    """Return the file of an entry, ``None`` if it is missing."""
    return next(
        (script for script in scripts if parse_version(script.version) == parse_version(entry.version)), None
    )


def _find_applied(entries: tuple[LedgerEntry, ...], script: MigrationFile) -> LedgerEntry:
    for entry in entries:
        if entry.finished and parse_version(entry.version) == parse_version(script.version):
            return entry
    raise UsageFault(
        f"{script.label} is not applied: there is no checksum to replace",
        hint="list the applied versions: confiture status",
    )


def _describe_unfinished(
    conn: Connection[Any], progress: RecordedProgress, script: MigrationFile | None, running: str | None
) -> UnfinishedMigration:
    entry = progress.entry
    statements, unreadable = read_statements(script, entry)
    states = determine_statement_progress(statements, progress.steps)
    with apply_settings(conn, statements[: len(entry.done)]):
        leftover_indexes = find_invalid_indexes(conn, statements, entry)
        begun = examine_begun(conn, statements, entry) if statements else None
    is_sql = script is not None and script.kind == "sql"
    lost_directive = bool(script and statements and _is_transactional(script, entry))
    restarts = lost_directive or (is_sql and any(state.state == "changed" for state in states))
    notes = (
        *([f"a run is in progress: {running}; wait until it has ended"] if running else []),
        *([f"its file cannot be read: {unreadable}; correct it, then look again"] if unreadable else []),
        *_make_notes(progress, script, states, leftover_indexes),
        *([_EXPLAIN_DIRECTIVE.format(version=entry.version)] if lost_directive else []),
        *_describe_next(begun),
    )
    return UnfinishedMigration(
        version=entry.version,
        name=script.name if script else entry.name,
        direction=entry.direction,
        file=str(_choose_file(script, entry)) if script else None,
        # The statements of a Python migration are known only when it runs; the notes count them.
        statements=states if statements else (),
        hooks=progress.hooks,
        invalid_indexes=leftover_indexes,
        notes=notes,
        commands=(
            (f"confiture repair {entry.version}",)
            if unreadable or running
            else _list_commands(entry, script, leftover_indexes, begun, restarts=restarts)
        ),
        alternatives=begun is not None
        and begun.needs_answer
        and not (leftover_indexes or restarts or running),
    )


def _describe_next(begun: BegunStatement | None) -> Iterator[str]:
    """Yield what is known of the statement that was begun, and what the next run does about it."""
    if begun is None:
        return
    yield describe_begun(begun)
    if begun.session_pid is not None or begun.line is None:
        return
    if begun.needs_answer:
        yield (
            "look at what it has done: --done records it as done if nothing of it is missing, --again lets "
            "the next run send it once more"
        )
    elif begun.effect.may_be_sent_again:
        yield f"the next run sends line {begun.line} again"
    elif begun.effect.state == "done":
        yield f"the next run goes on after line {begun.line}"


def _choose_file(script: MigrationFile, entry: LedgerEntry) -> Any:
    down = script.down_path if entry.direction == "backward" else None
    return down or script.path


def read_statements(
    script: MigrationFile | None, entry: LedgerEntry
) -> tuple[tuple[Statement, ...], str | None]:
    """Return the statements of the file, and the reason if the file is faulty and there are none."""
    from confiture.sql.script import read_sql

    if script is None or script.kind == "python":
        return (), None
    try:
        parsed = read_sql(script, entry.direction)
    except (MigrationFault, MigrationFaults) as fault:
        return (), fault.message
    return (parsed.statements if parsed else ()), None


def _is_transactional(script: MigrationFile, entry: LedgerEntry) -> bool:
    """Return True if somebody has taken ``no-transaction`` out of the file."""
    from confiture.sql.script import read_sql

    parsed = read_sql(script, entry.direction)
    return bool(parsed and parsed.transactional)


_EXPLAIN_DIRECTIVE = (
    "its file is not no-transaction any more: put that line back and run again, or undo what is done and "
    "start over: confiture repair --forget {version}"
)


def _make_notes(
    progress: RecordedProgress,
    script: MigrationFile | None,
    states: tuple[StatementProgress, ...],
    leftover_indexes: tuple[InvalidIndex, ...],
) -> list[str]:
    notes = []
    if script is None:
        notes.append("its file is missing: restore it and run again, or forget the migration")
    elif script.kind == "python":
        done = sum(step.done_at is not None for step in progress.steps.values())
        notes.append(f"a Python migration starts over; statements that had run before it was stopped: {done}")
        if any(step.done_at is None for step in progress.steps.values()):
            notes.append("one more was begun, and may be committed, whole or in part")
    if any(state.state == "changed" for state in states) and script and script.kind == "sql":
        notes.append(
            "statements that have already run were changed in the file: restore them and run again, or undo "
            f"what is done and start over: confiture repair --forget {progress.entry.version}"
        )
    for index in leftover_indexes:
        if index.builder_pid is not None:
            notes.append(
                f"pid {index.builder_pid} is still building {index.index}: wait until it has ended, "
                "then check again"
            )
    return notes


def _list_commands(
    entry: LedgerEntry,
    script: MigrationFile | None,
    leftover_indexes: tuple[InvalidIndex, ...],
    begun: BegunStatement | None,
    *,
    restarts: bool,
) -> tuple[str, ...]:
    """Return the exact next commands, in order; or the answers to choose from, if only a person can tell.

    With ``restarts``, the file does not fit what is done any more, and ``run`` refuses it as it is.
    """
    go_on = "confiture run" if entry.direction == "forward" else "confiture down"
    if script is None or (begun and begun.line is None):
        return (f"confiture repair --forget {entry.version}",)
    if any(index.builder_pid is not None for index in leftover_indexes) or (
        begun and begun.session_pid is not None
    ):
        return (f"confiture repair {entry.version}",)
    if restarts:
        return (f"confiture repair --forget {entry.version}",)
    if leftover_indexes:
        return (*(f"DROP INDEX CONCURRENTLY {index.index};" for index in leftover_indexes), go_on)
    if begun and begun.needs_answer:
        return list_answers(entry.version, begun)
    return (*(begun.effect.commands if begun else ()), go_on)


def format_label(entry: LedgerEntry) -> str:
    """Return the version and name, for people."""
    return f"{entry.version} {entry.name}".rstrip()


@frozen
class RecordedStep:
    """The ledger's record of one statement.

    Attributes:
        sha256: The checksum of its text.
        begun_at: ISO 8601.
        done_at: ISO 8601; ``None`` if it is not known to have ended.
    """

    sha256: str
    begun_at: str
    done_at: str | None


@frozen
class RecordedProgress:
    """The ledger's record of an unfinished migration.

    Attributes:
        entry: The migration.
        steps: Its statements, by number from 0.
        hooks: The last progress that each generator hook yielded.
    """

    entry: LedgerEntry
    steps: Mapping[int, RecordedStep] = field(factory=dict)
    hooks: tuple[HookProgress, ...] = ()


def read_progress(conn: Connection[Any], ledger: Ledger, entry: LedgerEntry) -> RecordedProgress:
    """Return the recorded progress of ``entry``. Needs only read rights."""
    q, which = quote_ident(ledger.schema), _render_where(entry)
    steps = ledger.select(
        conn,
        f"SELECT step, statement_sha256, {render_utc('begun_at')}, {render_utc('done_at')} FROM "
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


def determine_statement_progress(
    statements: Sequence[Statement], steps: Mapping[int, RecordedStep]
) -> tuple[StatementProgress, ...]:
    """Return the state of each statement in the file, and of recorded ones that the file no longer has."""
    in_file = [_determine_state(statement, steps.get(number)) for number, statement in enumerate(statements)]
    removed = [
        StatementProgress(None, "", "changed", step.done_at)
        for number, step in sorted(steps.items())
        if number >= len(statements) and step.done_at
    ]
    return (*in_file, *removed)


def _determine_state(statement: Statement, step: RecordedStep | None) -> StatementProgress:
    if step is None:
        return StatementProgress(statement.line, statement.sql, "pending")
    if step.done_at is None:
        return StatementProgress(statement.line, statement.sql, "begun", step.begun_at)
    same = step.sha256 == hash_text(statement.sql)
    return StatementProgress(statement.line, statement.sql, "done" if same else "changed", step.done_at)


def find_invalid_indexes(
    conn: Connection[Any], statements: Sequence[Statement], entry: LedgerEntry
) -> tuple[InvalidIndex, ...]:
    """Return the invalid indexes that these statements left, and the session still building each."""
    names = find_leftover_indexes(conn, statements, entry)
    return tuple(InvalidIndex(name, _find_builder(conn, name)) for name in names)


def _find_builder(conn: Connection[Any], index: str) -> int | None:
    """Return the pid of the session that builds ``index``; ``None`` if there is none.

    By default a server process notices that its client was killed only when it sends to it: it builds on.
    """
    found = fetch_rows(
        conn,
        "SELECT pid FROM pg_stat_progress_create_index"
        f" WHERE datname = current_database() AND index_relid = to_regclass({quote_literal(index)})",
    )
    return found[0][0] if found else None
