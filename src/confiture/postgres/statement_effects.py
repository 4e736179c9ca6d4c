"""Find out from the catalog whether a statement that commits by itself has had its effect.

Such a statement is recorded as begun before it is sent. If it fails, or if the run is killed before it
records the end, this table tells for each kind what is left to do. A statement that is not in the table (DO,
CALL) may have committed any part of its work: only a person can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from attrs import frozen
from psycopg import Connection

from confiture.postgres.invalid_indexes import parse_build
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.parser import read_enum_name
from confiture.sql.quote import quote_ident, quote_name
from confiture.sql.statement_kind import parse_leniently
from confiture.sql.transaction_block import find_transaction_refusal

EffectState = Literal["done", "absent", "repeatable", "blocked", "unknown"]


@frozen
class Effect:
    """The effect of a statement that was begun and is not recorded as done.

    Attributes:
        state: ``done``; ``absent`` if it changed nothing; ``repeatable`` if sending it again finishes it and
            does no harm; ``blocked`` if ``commands`` must be run first; ``unknown`` if a person must look.
        reason: The evidence, as a clause.
        commands: SQL to run before the statement can be sent again or counts as done.
        harmless: True if a repetition changes nothing more, however much of the statement was done.
    """

    state: EffectState
    reason: str
    commands: tuple[str, ...] = ()
    harmless: bool = False

    @property
    def may_be_sent_again(self) -> bool:
        """True if ``run`` may send the statement again without asking."""
        return self.state in ("absent", "repeatable")

    def describe(self) -> str:
        """Return it as a clause about the statement."""
        state = {
            "done": "has had its effect",
            "absent": "has had no effect",
            "repeatable": "may be done in part",
            "blocked": "is done in part",
            "unknown": "may be committed, whole or in part",
        }[self.state]
        return f"{state}: {self.reason}"


def find_effect(conn: Connection[Any], sql: str) -> Effect:
    """Return the effect of a statement, found in the catalog; needs only read rights."""
    parsed = parse_leniently(sql)
    if not parsed:
        return Effect("absent", "PostgreSQL cannot parse it")
    if len(parsed) > 1:
        return Effect("unknown", "it is several statements")
    kind, node = parsed[0].kind, parsed[0].node
    refusal = find_transaction_refusal(kind, node)
    if refusal is None:
        return Effect("unknown", "it is one transaction, and its commit is not recorded")
    if kind in ("index_stmt", "reindex_stmt"):
        return _find_build(conn, sql, refusal.words)
    find = _EFFECTS.get(kind)
    if find is None:
        return Effect("unknown", f"{_SUBJECTS.get(kind, refusal.words)} can commit any part of its work")
    return find(conn, getattr(node, kind))


def commits_by_itself(sql: str) -> bool:
    """Return True if PostgreSQL may refuse a statement in a transaction: it can commit a part of its work."""
    parsed = parse_leniently(sql)
    return len(parsed) != 1 or find_transaction_refusal(parsed[0].kind, parsed[0].node) is not None


def runs_code(sql: str) -> bool:
    """Return True for DO and CALL, whose code decides how many transactions there are."""
    parsed = parse_leniently(sql)
    return len(parsed) == 1 and parsed[0].kind in _SUBJECTS


def read_transaction_number(conn: Connection[Any]) -> int:
    """Return the number of the session's current transaction; PostgreSQL counts them up by one."""
    ((number,),) = fetch_rows(
        conn,
        "SELECT split_part(virtualxid, '/', 2)::bigint FROM pg_locks"
        " WHERE locktype = 'virtualxid' AND pid = pg_backend_pid() AND virtualxid = virtualtransaction",
    )
    return int(number)


def count_ended_transactions(conn: Connection[Any], before: int) -> Effect:
    """Return the effect of a DO or CALL that the server has just answered with an error.

    Args:
        conn: The session that ran it.
        before: The number of the transaction just before it, which read this number.
    """
    # Two of the numbers since are none that it ended: the one that the error rolled back, and this query's.
    ended = (read_transaction_number(conn) - before - 2) % _TRANSACTION_NUMBERS
    if not ended:
        return Effect("absent", "it had ended no transaction when it failed")
    return Effect("unknown", f"it had ended {ended} transaction{'' if ended == 1 else 's'} when it failed")


def find_session(conn: Connection[Any], sql: str) -> int | None:
    """Return the pid of another session that still runs this statement, else ``None``.

    The server notices that its client was killed only when it sends to it: until then it works on.
    """
    text = quote_literal(sql)
    # The server cuts the text of a query, at 100 bytes or more.
    found = fetch_rows(
        conn,
        "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        f" AND datname = current_database() AND starts_with({text}, query)"
        f" AND octet_length(query) >= least(octet_length({text}), 96) ORDER BY pid LIMIT 1",
    )
    return found[0][0] if found else None


def _find_build(conn: Connection[Any], sql: str, words: str) -> Effect:
    build = parse_build(sql)
    if build is None or (build.rebuilds and not build.find_invalid(conn)):
        return _repeat_safely(words)
    if left := build.find_invalid(conn):
        return Effect(
            "blocked",
            f"it has left the invalid index{'es' if len(left) > 1 else ''} {', '.join(left)}",
            tuple(f"DROP INDEX CONCURRENTLY {name};" for name in left),
        )
    if build.is_built(conn):
        return Effect("done", f"index {build.index} exists and is valid")
    if build.index is None and build.has_similar(conn):
        return Effect("unknown", f"the server chose the index's name, and {build.relation} has a valid index")
    return Effect("absent", "its index does not exist")


def _repeat_safely(words: str) -> Effect:
    return Effect("repeatable", f"{words} does no harm when it is repeated", harmless=True)


def _always_repeat(words: str) -> Callable[[Connection[Any], Any], Effect]:
    return lambda _conn, _stmt: _repeat_safely(words)


def _find_dropped_index(conn: Connection[Any], stmt: Any) -> Effect:
    states = {}
    for item in stmt.objects:
        name = quote_name(*(part.string.sval for part in item.list.items))
        found = fetch_rows(
            conn, f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass({quote_literal(name)})"
        )
        states[name] = found[0][0] if found else None
    names = ", ".join(states)
    if all(state is None for state in states.values()):
        return Effect("done", f"index {names} does not exist any more")
    if False in states.values():
        return Effect("repeatable", f"index {names} is marked invalid, and dropping it again finishes it")
    return Effect("absent", f"index {names} is still there and valid")


def _find_detached(conn: Connection[Any], stmt: Any) -> Effect:
    parent = quote_name(stmt.relation.schemaname, stmt.relation.relname)
    (command,) = (cmd.alter_table_cmd for cmd in stmt.cmds)
    named = getattr(command, "def").partition_cmd.name
    child = quote_name(named.schemaname, named.relname)
    ((exists, pending),) = fetch_rows(
        conn,
        f"SELECT to_regclass({quote_literal(child)}) IS NOT NULL, (SELECT inhdetachpending FROM pg_inherits"
        f" WHERE inhrelid = to_regclass({quote_literal(child)})"
        f" AND inhparent = to_regclass({quote_literal(parent)}))",
    )
    if pending:
        return Effect(
            "blocked",
            f"partition {child} is detached only half: its detach is pending",
            (f"ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE;",),
        )
    if pending is False:
        return Effect("absent", f"{child} is still a partition of {parent}")
    if exists:
        return Effect("done", f"{child} is no partition of {parent} any more")
    return Effect("unknown", f"table {child} does not exist")


def _find_shared(
    catalog: str, column: str, field: str, word: str, *, drops: bool = False
) -> Callable[[Connection[Any], Any], Effect]:
    """Return a function that looks for an object that a statement creates or drops."""

    def find(conn: Connection[Any], stmt: Any) -> Effect:
        name = getattr(stmt, field)
        found = fetch_rows(conn, f"SELECT 1 FROM {catalog} WHERE {column} = {quote_literal(name)}")
        reason = f"{word} {quote_ident(name)} {'exists' if found else 'does not exist'}"
        return Effect("done" if bool(found) is not drops else "absent", reason)

    return find


def _find_altered_subscription(conn: Connection[Any], stmt: Any) -> Effect:
    kind = read_enum_name(stmt, "kind").removeprefix("ALTER_SUBSCRIPTION_")
    if kind not in ("ADD_PUBLICATION", "DROP_PUBLICATION"):
        return _repeat_safely("ALTER SUBSCRIPTION")
    wanted = {item.string.sval for item in stmt.publication}
    found = fetch_rows(
        conn,
        "SELECT subpublications FROM pg_subscription WHERE subname = "
        f"{quote_literal(stmt.subname)} AND {_OF_THIS_DATABASE}",
    )
    present = wanted & set(found[0][0]) if found else set()
    done = present == wanted if kind == "ADD_PUBLICATION" else not present
    listed = ", ".join(sorted(present)) or "none of them"
    return Effect("done" if found and done else "absent", f"subscription {stmt.subname} has {listed}")


_TRANSACTION_NUMBERS = 2**32
_OF_THIS_DATABASE = "subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
# Not every column: subconninfo is readable for superusers only.
_SUBSCRIPTIONS = f"(SELECT subname FROM pg_subscription WHERE {_OF_THIS_DATABASE}) s"
# datconnlimit is -2 for a database whose DROP was interrupted: it can only be dropped again.
_DATABASES = "(SELECT datname FROM pg_database WHERE datconnlimit <> -2) d"
_SUBJECTS = {"do_stmt": "a DO block", "call_stmt": "a CALL"}

# Statement kind → how its effect is found. CREATE INDEX and REINDEX: `_find_build`. DO and CALL: unknown.
# ALTER TYPE … ADD VALUE is not here: it commits together with its record.
_EFFECTS: dict[str, Callable[[Connection[Any], Any], Effect]] = {
    "drop_stmt": _find_dropped_index,
    "alter_table_stmt": _find_detached,
    "createdb_stmt": _find_shared(_DATABASES, "datname", "dbname", "database"),
    "dropdb_stmt": _find_shared("pg_database", "datname", "dbname", "database", drops=True),
    "create_table_space_stmt": _find_shared("pg_tablespace", "spcname", "tablespacename", "tablespace"),
    "drop_table_space_stmt": _find_shared(
        "pg_tablespace", "spcname", "tablespacename", "tablespace", drops=True
    ),
    "create_subscription_stmt": _find_shared(_SUBSCRIPTIONS, "subname", "subname", "subscription"),
    "drop_subscription_stmt": _find_shared(_SUBSCRIPTIONS, "subname", "subname", "subscription", drops=True),
    "alter_subscription_stmt": _find_altered_subscription,
    "vacuum_stmt": _always_repeat("VACUUM"),
    "cluster_stmt": _always_repeat("CLUSTER"),
    "alter_system_stmt": _always_repeat("ALTER SYSTEM"),
    "alter_database_stmt": _always_repeat("ALTER DATABASE … SET TABLESPACE"),
    "discard_stmt": _always_repeat("DISCARD ALL"),
}
