"""Rules about how long locks are held: work after a lock, timeouts and unbounded statements."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from confiture.models.report import HookReport, Lock, MigrationReport, StatementReport
from confiture.rules.likelihood import is_always_likely
from confiture.rules.measurements import (
    choose_verb,
    is_in_use,
    list_empty_blocks,
    list_long_blocks,
    list_scanned,
    list_worked_on,
    was_unused,
)
from confiture.rules.parse_tree import list_commands, read_name
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement
from confiture.rules.recipes import (
    Recipe,
    commit_batch,
    declare_progress,
    write_non_transactional,
    write_part,
    write_recipe,
)
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident
from confiture.units import parse_milliseconds

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_SCANNING = {"AT_AlterColumnType", "AT_SetNotNull", "AT_AddConstraint", "AT_ValidateConstraint"}
_TIMEOUTS = ("lock_timeout", "statement_timeout")


def _list_blocking(locks: tuple[Lock, ...]) -> list[Lock]:
    return [lock for lock in locks if lock.blocks and not lock.transient]


def _check_after_lock(migration: ParsedMigration) -> Iterator[Hit]:
    """Find what takes long while a lock of an earlier statement or hook blocks others; once for each lock."""
    report = migration.report
    if report is None or not migration.transactional:
        return
    held: dict[Lock, int] = {}
    reported: set[Lock] = set()
    for step in _list_steps(migration, report):
        lock = next((lock for lock in held if lock not in reported), None)
        if lock and step.what:
            since = held[lock]
            yield Hit(
                f"{step.what} while {f'line {since}' if since else 'an earlier hook'} blocks "
                f"{' and '.join(lock.blocks)} of {lock.relation}",
                lock.relation,
                line=step.line or None,
                adds_to=(step.line, since),
            )
            reported |= held.keys()
        held |= {lock: step.line for lock in _list_blocking(step.locks) if lock not in held}


_BEFORE = ("before_validation", "before_ddl")
_LONG_MS = 100.0


@frozen
class _Step:
    """One statement or hook of a migration.

    Attributes:
        line: The statement's line; 0 for a hook.
        what: What takes long; empty if it is quick.
        locks: The locks that it took.
    """

    line: int
    what: str
    locks: tuple[Lock, ...]


def _list_steps(migration: ParsedMigration, report: MigrationReport) -> Iterator[_Step]:
    """Yield hooks and statements in the order in which they run."""
    parsed = {id(statement.report): statement for statement in migration.statements}
    yield from (_read_hook(hook) for hook in report.hooks if hook.phase in _BEFORE)
    for statement in report.statements:
        what = _describe_long(statement, parsed.get(id(statement)))
        yield _Step(statement.line or 0, what, statement.locks)
    yield from (
        _read_hook(hook) for hook in report.hooks if hook.phase not in _BEFORE and hook.phase != "on_error"
    )


def _describe_long(report: StatementReport, statement: ParsedStatement | None) -> str:
    """Return what a statement does for long: measured, estimated, or as its text tells of a table in use."""
    estimate_ms = report.estimate.p50_ms if report.estimate else None
    if max(report.work_ms, estimate_ms or 0.0) >= _LONG_MS:
        return "runs"
    if statement is None or statement.kind == "truncate_stmt":
        return ""
    worked = next((name for name in list_worked_on(statement) if not was_unused(statement, name)), None)
    return f"{choose_verb(statement, worked)} {worked}" if worked else ""


def _read_hook(hook: HookReport) -> _Step:
    # A hook that was rolled back has no part in the migration.
    slow = hook.outcome == "kept" and hook.duration_ms >= _LONG_MS
    return _Step(0, f"the hook {hook.hook} runs" if slow else "", hook.locks)


def _check_work_after_lock(statement: ParsedStatement) -> Iterator[Hit]:
    """Find a relation that is scanned or rewritten only under the lock of an earlier statement."""
    reported = {name for earlier in statement.earlier_statements for name in _list_late(earlier)}
    for relation in _list_late(statement):
        if relation not in reported:
            yield Hit(
                f"{choose_verb(statement, relation)} {relation} under the lock of an earlier statement",
                relation,
                severity="error",
                adds_to=(statement.line,),
            )


def _list_late(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that a statement works on only under the lock of an earlier one."""
    blocks = list_long_blocks(statement) or list_empty_blocks(statement)
    if not blocks or _locks_itself(statement):
        return ()
    locked = {lock.relation for lock in _list_blocking(statement.report.locks)} if statement.report else set()
    return tuple(relation for relation in blocks if relation not in locked)


def _locks_itself(statement: ParsedStatement) -> bool:
    """Return True if the statement takes a blocking lock itself, even if that lock is not new.

    A report lists only new locks, so the kind of the statement decides. Other rules report these statements.
    """
    if statement.kind == "alter_table_stmt":
        return {command.sort for command in list_commands(statement.stmt)} != {"AT_ValidateConstraint"}
    return statement.kind in (
        "index_stmt",
        "reindex_stmt",
        "refresh_mat_view_stmt",
        "do_stmt",
        "cluster_stmt",
    )


def _check_transient(statement: ParsedStatement) -> Iterator[Hit]:
    for lock in statement.report.locks if statement.report else ():
        if lock.transient and lock.blocks:
            yield Hit(
                f"briefly blocks {' and '.join(lock.blocks)} of {lock.relation}: a rolled back savepoint "
                "released the lock",
                lock.relation,
            )


def _is_zero(value: str | None) -> bool:
    if value is None:
        return False
    try:
        return parse_milliseconds(value, bare_unit="ms") == 0
    except ValueError:
        return False


def _find_set_values(migration: ParsedMigration, name: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the value of each SET of a setting."""
    for statement in migration.statements:
        if statement.kind == "variable_set_stmt" and statement.stmt.name == name and statement.stmt.args:
            constant = statement.stmt.args[0].a_const
            yield statement.line, constant.sval.sval if constant.HasField("sval") else str(constant.ival.ival)


def _check_no_lock_timeout(migration: ParsedMigration) -> Iterator[Hit]:
    return _check_no_timeout(migration, "lock_timeout", "5s", _is_zero(migration.lock_timeout))


def _check_no_statement_timeout(migration: ParsedMigration) -> Iterator[Hit]:
    unset = migration.statement_timeout is None or _is_zero(migration.statement_timeout)
    return _check_no_timeout(migration, "statement_timeout", "10min", unset)


def _check_no_timeout(migration: ParsedMigration, name: str, value: str, unset: bool) -> Iterator[Hit]:
    # Outside a transaction each statement is committed by itself, which releases its locks.
    if not migration.transactional or not migration.statements:
        return
    for line, written in _find_set_values(migration, name):
        unset = _is_zero(written)
        if unset:
            yield Hit(
                f"switches {name} off",
                None,
                write_recipe(write_part(f"SET LOCAL {name} = '{value}';")),
                line=line,
            )
            return
    if unset and not any(True for _ in _find_set_values(migration, name)):
        yield Hit(
            f"runs without a {name}",
            None,
            f"-- confiture: {name}={value}",
            line=migration.statements[0].line,
        )


def _check_unbounded(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if stmt.HasField("where_clause") or statement.is_new(read_name(stmt.relation)):
        return
    table = read_name(stmt.relation)
    verb = "updates" if statement.kind == "update_stmt" else "deletes"
    yield Hit(f"{verb} every row of {table}", str(table), _write_batches(statement))


def _write_batches(statement: ParsedStatement) -> Recipe | None:
    """Return the statement in batches by its integer key; ``None`` without one, or with other clauses."""
    stmt, known = statement.stmt, statement.migration.schema
    table = read_name(stmt.relation)
    key = known.integer_keys.get(table)
    sources = stmt.from_clause if statement.kind == "update_stmt" else stmt.using_clause
    targets = [target.res_target.name for target in getattr(stmt, "target_list", ())]
    plain = not (sources or stmt.HasField("returning_clause") or stmt.HasField("with_clause"))
    if not plain or key in targets or (key is None and known.read_column is not None):
        return None
    name, head = quote_ident(key or "id"), statement.sql.strip().rstrip(";")
    hint = () if key else ("-- replace id with the table's key",)
    return write_recipe(
        write_non_transactional(
            *hint,
            "-- the backfill plugin can also resume after a failure",
            "DO $batches$",
            *declare_progress(table),
            "  batch_from bigint;",
            "  batch_to bigint;",
            "BEGIN",
            f"  SELECT min({name}) - 1 INTO batch_from FROM {table};",
            "  LOOP",
            f"    SELECT max({name}) INTO batch_to FROM (SELECT {name} FROM {table}",
            f"      WHERE {name} > batch_from ORDER BY {name} LIMIT 10000) AS batch;",
            "    EXIT WHEN batch_to IS NULL;",
            f"    {head} WHERE {name} > batch_from AND {name} <= batch_to;",
            "    GET DIAGNOSTICS backfill_batch = ROW_COUNT;",
            "    batch_from := batch_to;",
            *commit_batch(table),
            "  END LOOP;",
            "END $batches$;",
        )
    )


def _has_rows(_: Hit, statement: ParsedStatement) -> bool:
    # An empty table that the plan did not create has rows in production.
    rows = statement.report.rows if statement.report else None
    return bool(rows) or any(is_in_use(statement, name) for name in list_scanned(statement))


def _check_combine(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    sorts = {command.sort for command in list_commands(statement.stmt)}
    # ALTER TYPE has the same commands for the attributes of a composite type, and scans nothing.
    if read_enum_name(statement.stmt, "objtype") != "OBJECT_TABLE":
        return
    if not sorts or sorts - _SCANNING or statement.is_new(table) or _is_apart(statement):
        return
    for inner in reversed(statement.earlier_statements):
        if inner.kind == "alter_table_stmt" and read_name(inner.stmt.relation) == table:
            earlier = {command.sort for command in list_commands(inner.stmt)}
            # VALIDATE scans under a weak lock; in one statement with others it would scan under theirs.
            alike = (sorts == _ONLY_VALIDATE) == (earlier == _ONLY_VALIDATE)
            if earlier and not earlier - _SCANNING and not _is_apart(inner) and alike:
                yield Hit(
                    f"alters {table} again: combined with line {inner.line}, one ALTER TABLE scans it once",
                    str(table),
                    _write_combined(statement, inner) if sorts | earlier == _ONLY_VALIDATE else None,
                    # Their recipes are not to be combined.
                    adds_to=(statement.line, inner.line),
                )
            return


# Other commands scan under a strong lock: their rules have recipes, which combined commands would undo.
_ONLY_VALIDATE = {"AT_ValidateConstraint"}
_SCANNED = ("CONSTR_CHECK", "CONSTR_NOTNULL")


def _write_combined(statement: ParsedStatement, earlier: ParsedStatement) -> Recipe | None:
    """Return both statements as one; ``None`` if another between them may need the first."""
    if earlier.index + 1 != statement.index:
        return None
    return write_recipe(
        write_part(f"{earlier.sql.strip().rstrip(';')},\n  {_render_tail(statement)};"),
        replaces=(earlier.index,),
    )


def _is_apart(statement: ParsedStatement) -> bool:
    # NOT VALID scans nothing, and only a CHECK or NOT NULL is checked by the scan that ALTER TABLE makes for
    # all of its commands: a foreign key and an index make one of their own.
    added = (command for command in list_commands(statement.stmt) if command.sort == "AT_AddConstraint")
    trees = [command.definition.constraint for command in added]
    return any(tree.skip_validation or read_enum_name(tree, "contype") not in _SCANNED for tree in trees)


def _render_tail(statement: ParsedStatement) -> str:
    from confiture.sql.parser import deparse_statement

    whole = deparse_statement("alter_table_stmt", statement.stmt)
    head = (
        f"ALTER TABLE {'' if statement.stmt.relation.inh else 'ONLY '}{read_name(statement.stmt.relation)} "
    )
    return whole.removeprefix(head)


RULES = (
    Rule(
        id="statement-after-dangerous-lock",
        severity="warning",
        basis="measured",
        summary="a statement or hook that takes long, after a lock that blocks others",
        effect="holds every lock until the transaction ends",
        risk="the time of what follows adds to the time that others are blocked",
        check=_check_work_after_lock,
        check_migration=_check_after_lock,
        rehearsed_only=True,
        example=Example(
            _ORDERS,
            "ALTER TABLE orders ADD COLUMN code text;\nSELECT count(*) FROM orders;",
        ),
        remedy="move the statements after the lock into the next migration",
    ),
    Rule(
        id="transient-dangerous-lock",
        severity="warning",
        basis="measured",
        summary="a lock that a rolled back subtransaction released",
        effect="releases the lock when the savepoint or the EXCEPTION block is rolled back",
        risk="others are blocked briefly, and pg_locks does not show it afterwards",
        check=_check_transient,
        rehearsed_only=True,
        example=Example(
            _ORDERS,
            "DO $$ BEGIN BEGIN ALTER TABLE orders ADD COLUMN code text; RAISE 'no'; "
            "EXCEPTION WHEN OTHERS THEN NULL; END; END $$;",
        ),
        remedy="take the lock in a separate migration with a lock_timeout",
    ),
    Rule(
        id="no-lock-timeout",
        severity="warning",
        basis="either",
        summary="lock_timeout switched off",
        effect="waits for a lock without limit; with confiture's default it gives up after 5 s",
        risk="every later query of the table queues behind the waiting migration",
        check_migration=_check_no_lock_timeout,
        example=Example(_ORDERS, "SET LOCAL lock_timeout = 0;\nALTER TABLE orders ADD COLUMN code text;"),
    ),
    Rule(
        id="no-statement-timeout",
        severity="off",
        basis="either",
        summary="no statement_timeout; off because confiture sets none and a long migration may be intended",
        effect="runs a statement without a time limit",
        risk="a statement that takes longer than expected holds its locks for that time",
        check_migration=_check_no_statement_timeout,
        example=Example(_ORDERS, "ALTER TABLE orders ADD COLUMN code text;"),
    ),
    Rule(
        id="unbounded-dml",
        severity="warning",
        basis="measured",
        summary="UPDATE or DELETE without WHERE",
        effect="locks every row until the migration ends, and writes every row to the WAL",
        risk="writes of these rows are blocked, replicas lag, and an UPDATE may double the table's size",
        check=_check_unbounded,
        confirmed_by=_has_rows,
        likely_by_text=is_always_likely,
        kinds=("update_stmt", "delete_stmt"),
        example=Example(_ORDERS, "UPDATE orders SET qty = qty + 1;"),
    ),
    Rule(
        id="combine-alter-statements",
        severity="warning",
        basis="static",
        summary="several ALTER TABLE statements that each scan the same table",
        effect="scans the table once for each statement",
        risk="the scans take longer than the single scan of one ALTER TABLE with all commands",
        check=_check_combine,
        kinds=("alter_table_stmt",),
        subcommands=("AT_AlterColumnType", "AT_SetNotNull", "AT_AddConstraint", "AT_ValidateConstraint"),
        example=Example(
            f"{_ORDERS} ALTER TABLE orders ADD CONSTRAINT qty_positive CHECK (qty > 0) NOT VALID;"
            "ALTER TABLE orders ADD CONSTRAINT note_filled CHECK (note <> '') NOT VALID;",
            "ALTER TABLE orders VALIDATE CONSTRAINT qty_positive;\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT note_filled;",
        ),
    ),
    Rule(
        id="long-block",
        severity="error",
        basis="measured",
        summary="a long block that no other rule reports",
        effect="scans, rewrites or indexes a whole table while a lock of the migration blocks others",
        risk="reads or writes of the table are blocked until that is done",
        remedy="find out what the statement does, and split the migration",
    ),
)
