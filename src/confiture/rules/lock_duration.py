"""Rules of what is held for how long: locks, timeouts, and statements that go on for ever."""

from __future__ import annotations

from collections.abc import Iterator

from confiture.models.report import HookReport, Lock, MigrationReport, StatementReport
from confiture.rules.measurements import long_here
from confiture.rules.parse_tree import commands, name_of
from confiture.rules.parsed_migration import Piece, Reading
from confiture.rules.recipes import part, recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.statement_kind import statement_kind
from confiture.units import milliseconds

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_SCANNING = {"AT_AlterColumnType", "AT_SetNotNull", "AT_AddConstraint", "AT_ValidateConstraint"}
_TIMEOUTS = ("lock_timeout", "statement_timeout")


def _blocking(locks: tuple[Lock, ...]) -> list[Lock]:
    return [lock for lock in locks if lock.blocks and not lock.transient]


def _after_lock(reading: Reading) -> Iterator[Hit]:
    """Find the first statement or hook that runs while an earlier one's lock blocks others."""
    report = reading.report
    if report is None or not reading.transactional:
        return
    held: tuple[Lock, int] | None = None
    for line, text, locks in _steps(report):
        if held and text:
            lock, since = held
            yield Hit(
                f"runs while line {since} blocks {' and '.join(lock.blocks)} of {lock.relation}"
                if since
                else f"runs while an earlier hook blocks {' and '.join(lock.blocks)} of {lock.relation}",
                lock.relation,
                "-- move what follows the lock into the next migration",
                line=line or None,
            )
            return
        blocking = _blocking(locks)
        held = held or ((blocking[0], line) if blocking else None)


_BEFORE = ("before_validation", "before_ddl")


def _steps(report: MigrationReport) -> Iterator[tuple[int, str, tuple[Lock, ...]]]:
    """Yield line, text and locks of hooks and statements, in the order in which they run."""
    yield from (_of_hook(hook) for hook in report.hooks if hook.phase in _BEFORE)
    for statement in report.statements:
        yield statement.line or 0, _text(statement), statement.locks
    yield from (
        _of_hook(hook) for hook in report.hooks if hook.phase not in _BEFORE and hook.phase != "on_error"
    )


def _text(statement: StatementReport) -> str:
    # A lock_timeout costs nothing, and belongs in front of what takes a lock.
    return "" if statement_kind(statement.sql).node == "variable_set_stmt" else statement.sql


def _of_hook(hook: HookReport) -> tuple[int, str, tuple[Lock, ...]]:
    return 0, hook.hook if hook.outcome == "kept" else "", hook.locks


def _work_after_lock(piece: Piece) -> Iterator[Hit]:
    """Find what is read or rewritten under the lock of an earlier statement alone."""
    own = {each.relation for each in _blocking(piece.report.locks)} if piece.report else set()
    for relation in long_here(piece):
        if relation not in own and not _locks_itself(piece):
            yield Hit(f"reads all of {relation} under an earlier lock", relation, severity="error")


def _locks_itself(piece: Piece) -> bool:
    """Whether a statement would block others without what came before, though the lock is not new."""
    if piece.kind == "alter_table_stmt":
        return {command.sort for command in commands(piece.stmt)} != {"AT_ValidateConstraint"}
    return piece.kind in ("index_stmt", "reindex_stmt", "refresh_mat_view_stmt", "do_stmt", "cluster_stmt")


def _transient(piece: Piece) -> Iterator[Hit]:
    for lock in piece.report.locks if piece.report else ():
        if lock.transient and lock.blocks:
            yield Hit(
                f"blocks {' and '.join(lock.blocks)} of {lock.relation} for a moment: the end shows nothing",
                lock.relation,
            )


def _zero(value: str | None) -> bool:
    if value is None:
        return False
    try:
        return milliseconds(value) == 0
    except ValueError:
        return False


def _set_to(reading: Reading, name: str) -> Iterator[tuple[int, str]]:
    """Yield line and value of each SET of a setting."""
    for piece in reading.pieces:
        if piece.kind == "variable_set_stmt" and piece.stmt.name == name and piece.stmt.args:
            constant = piece.stmt.args[0].a_const
            yield piece.line, constant.sval.sval if constant.HasField("sval") else str(constant.ival.ival)


def _no_lock_timeout(reading: Reading) -> Iterator[Hit]:
    return _no_timeout(reading, "lock_timeout", "5s", _zero(reading.lock_timeout))


def _no_statement_timeout(reading: Reading) -> Iterator[Hit]:
    unset = reading.statement_timeout is None or _zero(reading.statement_timeout)
    return _no_timeout(reading, "statement_timeout", "10min", unset)


def _no_timeout(reading: Reading, name: str, value: str, unset: bool) -> Iterator[Hit]:
    if not reading.transactional or not reading.pieces:
        return
    for line, written in _set_to(reading, name):
        unset = _zero(written)
        if unset:
            yield Hit(f"switches {name} off", None, recipe(part(f"SET LOCAL {name} = '{value}';")), line=line)
            return
    if unset and not any(True for _ in _set_to(reading, name)):
        yield Hit(
            f"runs without a {name}",
            None,
            f"-- confiture: {name}={value}",
            line=reading.pieces[0].line,
        )


def _unbounded(piece: Piece) -> Iterator[Hit]:
    stmt = piece.stmt
    if stmt.HasField("where_clause") or piece.is_new(name_of(stmt.relation)):
        return
    table = name_of(stmt.relation)
    verb = "updates" if piece.kind == "update_stmt" else "deletes"
    yield Hit(f"{verb} every row of {table}", str(table), _in_batches(piece))


def _in_batches(piece: Piece) -> str:
    table = name_of(piece.stmt.relation)
    head = piece.sql.strip().rstrip(";")
    return (
        "-- confiture: no-transaction\n"
        "-- with the key of the table for id, in batches of 10000; the backfill plugin also resumes\n"
        "DO $$\nDECLARE last bigint := 0; upto bigint;\nBEGIN\n  LOOP\n"
        "    SELECT max(id) INTO upto FROM\n"
        f"      (SELECT id FROM {table} WHERE id > last ORDER BY id LIMIT 10000) AS batch;\n"
        "    EXIT WHEN upto IS NULL;\n"
        f"    {head} WHERE id > last AND id <= upto;\n"
        "    last := upto;\n    COMMIT;\n  END LOOP;\nEND $$;"
    )


def _has_rows(_: Hit, piece: Piece) -> bool:
    return bool(piece.report and piece.report.rows)


def _combine(piece: Piece) -> Iterator[Hit]:
    table = name_of(piece.stmt.relation)
    sorts = {each.sort for each in commands(piece.stmt)}
    if not sorts or sorts - _SCANNING or piece.is_new(table) or _deferred(piece):
        return
    for each in reversed(piece.earlier):
        if each.kind == "alter_table_stmt" and name_of(each.stmt.relation) == table:
            before = {command.sort for command in commands(each.stmt)}
            if before and not before - _SCANNING and not _deferred(each):
                both = f"{each.sql.strip().rstrip(';')},\n  {_tail(piece)};"
                yield Hit(
                    f"alters {table} again: one ALTER TABLE with line {each.line} reads it once",
                    str(table),
                    both,
                )
            return


def _deferred(piece: Piece) -> bool:
    return any(
        command.sort == "AT_AddConstraint" and command.definition.constraint.skip_validation
        for command in commands(piece.stmt)
    )


def _tail(piece: Piece) -> str:
    from confiture.sql.parser import deparse_statement

    whole = deparse_statement("alter_table_stmt", piece.stmt)
    head = f"ALTER TABLE {'' if piece.stmt.relation.inh else 'ONLY '}{name_of(piece.stmt.relation)} "
    return whole.removeprefix(head)


RULES = (
    Rule(
        id="statement-after-dangerous-lock",
        severity="warning",
        basis="measured",
        summary="a statement or hook after a lock that blocks others",
        effect="holds every lock until the transaction ends",
        risk="each statement more is added to the time that others wait",
        check=_work_after_lock,
        check_migration=_after_lock,
        rehearsed_only=True,
        example=Example(
            _ORDERS,
            "ALTER TABLE orders ADD COLUMN code text;\nSELECT count(*) FROM orders;",
        ),
        remedy="move what follows the lock into the next migration",
    ),
    Rule(
        id="transient-dangerous-lock",
        severity="warning",
        basis="measured",
        summary="a lock that a subtransaction has let go again",
        effect="lets go of a lock where a savepoint or an EXCEPTION block is rolled back",
        risk="others wait for a moment, and nothing shows it afterwards",
        check=_transient,
        rehearsed_only=True,
        example=Example(
            _ORDERS,
            "DO $$ BEGIN BEGIN ALTER TABLE orders ADD COLUMN code text; RAISE 'no'; "
            "EXCEPTION WHEN OTHERS THEN NULL; END; END $$;",
        ),
        remedy="take the lock in a migration of its own, with a lock_timeout",
    ),
    Rule(
        id="no-lock-timeout",
        severity="warning",
        basis="either",
        summary="lock_timeout switched off",
        effect="waits for a lock for as long as it takes; confiture gives up after 5 s unless told otherwise",
        risk="everyone who comes later queues behind the waiting migration",
        check_migration=_no_lock_timeout,
        example=Example(_ORDERS, "SET LOCAL lock_timeout = 0;\nALTER TABLE orders ADD COLUMN code text;"),
    ),
    Rule(
        id="no-statement-timeout",
        severity="off",
        basis="either",
        summary="no statement_timeout; off, because confiture sets none and a long migration may be meant",
        effect="runs a statement for as long as it takes",
        risk="a statement that takes longer than thought holds its locks for as long",
        check_migration=_no_statement_timeout,
        example=Example(_ORDERS, "ALTER TABLE orders ADD COLUMN code text;"),
    ),
    Rule(
        id="unbounded-dml",
        severity="warning",
        basis="measured",
        summary="UPDATE or DELETE without WHERE",
        effect="locks every row until the migration's end, and writes the whole table to the WAL",
        risk="writes of these rows wait, replicas lag, and the table doubles its size",
        check=_unbounded,
        confirmed_by=_has_rows,
        kinds=("update_stmt", "delete_stmt"),
        example=Example(_ORDERS, "UPDATE orders SET qty = qty + 1;"),
    ),
    Rule(
        id="combine-alter-statements",
        severity="warning",
        basis="static",
        summary="several ALTER TABLEs that each read the same table",
        effect="reads the table once for each of them",
        risk="one ALTER TABLE with all of it reads the table once",
        check=_combine,
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
        summary="a long block that no other rule names",
        effect="reads, rewrites or indexes a table end to end while a lock of the migration blocks it",
        risk="others wait until that has ended",
        remedy="see what the statement does, and split the migration",
    ),
)
