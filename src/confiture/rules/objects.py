"""Rules about triggers, rewrite rules, views and storage: mostly brief locks, and a few rewrites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from confiture.rules.measurements import was_locked, was_worked_on
from confiture.rules.parse_tree import QualifiedName, list_commands, read_name, read_name_list
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import Recipe, write_part, write_recipe
from confiture.rules.rule import Basis, Example, Hit, Rule
from confiture.sql.parser import read_enum_name
from confiture.sql.transaction_block import is_option_on

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"
_TOUCH = f"{_ORDERS} CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
_VIEW = f"{_ORDERS} CREATE VIEW noted AS SELECT id, note FROM orders;"
_TOTAL = (
    f"{_ORDERS} INSERT INTO orders SELECT g, 'n', g FROM generate_series(1, 100) g;"
    "CREATE MATERIALIZED VIEW total AS SELECT qty % 10 AS k, count(*) AS c FROM orders GROUP BY 1;"
)


def _check_refresh(statement: ParsedStatement) -> Iterator[Hit]:
    stmt, view = statement.stmt, read_name(statement.stmt.relation)
    known = statement.migration.schema
    # Nobody can read a view before its first REFRESH, and CONCURRENTLY is refused for it.
    if not stmt.concurrent and not statement.is_new(view) and view not in known.unpopulated_views:
        # Without a catalog nobody knows; the recipe then says so.
        lacking = known.read_column is not None and view not in known.unique_views
        yield Hit(
            # `skip_data` is WITH NO DATA.
            f"{'empties' if stmt.skip_data else 'recomputes'} {view} while blocking reads"
            f"{'; CONCURRENTLY needs a unique index on its columns first' if lacking else ''}",
            str(view),
            None if stmt.skip_data or lacking else _write_refresh(view, known.read_column is None),
        )


def _write_refresh(view: QualifiedName, is_unsure: bool) -> Recipe:
    note = (f"-- needs a unique index on {view}",) if is_unsure else ()
    return write_recipe(write_part(*note, f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view};"))


def _check_logged(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    for command in list_commands(statement.stmt):
        if command.sort in ("AT_SetLogged", "AT_SetUnLogged") and not statement.is_new(table):
            yield Hit(f"rewrites {table} while blocking reads and writes", str(table))


def _check_full(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if statement.kind == "cluster_stmt":
        names = [read_name(stmt.relation)] if stmt.HasField("relation") else []
    elif stmt.is_vacuumcmd and is_option_on(stmt.options, "full", default=False):
        names = [read_name(rel.vacuum_relation.relation) for rel in stmt.rels]
    else:
        return
    # Without a name VACUUM FULL rewrites every table, and CLUSTER every table that was clustered before.
    tables = ", ".join(map(str, names)) or "every table"
    if not names or not all(map(statement.is_new, names)):
        yield Hit(f"rewrites {tables} while blocking reads and writes", str(names[0]) if names else None)


def _check_trigger(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    if not statement.is_new(table):
        yield Hit(f"blocks writes of {table} until the migration ends", str(table))


def _list_dropped(statement: ParsedStatement, sort: str) -> Iterator[QualifiedName]:
    # The last item is the name of the trigger, those before it are the name of its table.
    if read_enum_name(statement.stmt, "remove_type") == sort:
        yield from (read_name_list(item.list.items[:-1]) for item in statement.stmt.objects)


def _check_drop_trigger(statement: ParsedStatement) -> Iterator[Hit]:
    for table in _list_dropped(statement, "OBJECT_TRIGGER"):
        if not statement.is_new(table):
            yield _make_exclusive_hit(table)


def _make_exclusive_hit(table: QualifiedName) -> Hit:
    return Hit(f"blocks reads and writes of {table} until the migration ends", str(table))


def _check_rule(statement: ParsedStatement) -> Iterator[Hit]:
    table = read_name(statement.stmt.relation)
    if not statement.is_new(table):
        yield _make_exclusive_hit(table)


def _check_view(statement: ParsedStatement) -> Iterator[Hit]:
    # Only a rehearsal can tell whether the view exists; creating a new one locks nothing.
    view = read_name(statement.stmt.view)
    if statement.stmt.replace and not statement.is_new(view):
        yield Hit(f"blocks reads of {view} until the migration ends", str(view))


def _check_index(statement: ParsedStatement) -> Iterator[Hit]:
    if read_enum_name(statement.stmt, "objtype") != "OBJECT_INDEX":
        return
    index = read_name(statement.stmt.relation)
    yield Hit(f"locks the index {index} and so blocks reads of its table: the planner opens it", str(index))


def _was_index_locked(_: Hit, statement: ParsedStatement) -> bool:
    locks = statement.report.locks if statement.report else ()
    return any(lock.kind == "index" and lock.mode == "AccessExclusiveLock" for lock in locks)


def _check_lock_table(statement: ParsedStatement) -> Iterator[Hit]:
    if statement.stmt.mode < _SHARE:
        return
    for table in _list_old(statement, (relation.range_var for relation in statement.stmt.relations)):
        blocked = "writes" if statement.stmt.mode < _ACCESS_EXCLUSIVE else "reads and writes"
        yield Hit(f"blocks {blocked} of {table} until the migration ends", str(table))


# The numbers of ShareLock and AccessExclusiveLock in PostgreSQL's lockdefs.h. Weaker modes than Share let
# others read and write; of the stronger ones only AccessExclusive blocks reads.
_SHARE, _ACCESS_EXCLUSIVE = 5, 8


def _list_old(statement: ParsedStatement, relations: Iterable[Any]) -> Iterator[QualifiedName]:
    for name in map(read_name, relations):
        if not statement.is_new(name):
            yield name


def _check_truncate(statement: ParsedStatement) -> Iterator[Hit]:
    for table in _list_old(statement, (relation.range_var for relation in statement.stmt.relations)):
        yield Hit(f"empties {table} and blocks reads and writes of it until the migration ends", str(table))


def _check_truncate_cascade(statement: ParsedStatement) -> Iterator[Hit]:
    if read_enum_name(statement.stmt, "behavior") != "DROP_CASCADE":
        return
    names = [read_name(relation.range_var) for relation in statement.stmt.relations]
    locked = statement.report.locks if statement.report else ()
    others = [
        lock.relation
        for lock in locked
        if lock.kind == "table" and not any(name.is_rel(lock.relation) for name in names)
    ]
    emptied = ", ".join(others) or f"every table that references {', '.join(map(str, names))}"
    yield Hit(f"empties {emptied} too", others[0] if others else str(names[0]))


def _make_rule(
    id: str,
    basis: Basis,
    summary: str,
    effect: str,
    check: Any,
    kinds: tuple[str, ...],
    example: Example,
    **more: Any,
) -> Rule:
    return Rule(
        id=id,
        severity=more.pop("severity", "warning"),
        basis=basis,
        summary=summary,
        effect=effect,
        risk=more.pop("risk", "it waits for the longest query there, and every other query queues behind it"),
        check=check,
        confirmed_by=more.pop("confirmed_by", was_locked),
        kinds=kinds,
        example=example,
        remedy=more.pop("remedy", "a separate, short migration with a lock_timeout"),
    )


RULES = (
    Rule(
        id="refresh-matview-not-concurrent",
        severity="error",
        basis="static",
        summary="REFRESH MATERIALIZED VIEW without CONCURRENTLY",
        effect="recomputes the view under an AccessExclusive lock",
        risk="reads of the view are blocked until it is recomputed",
        check=_check_refresh,
        kinds=("refresh_mat_view_stmt",),
        example=Example(
            f"{_TOTAL} CREATE UNIQUE INDEX total_k ON total (k);", "REFRESH MATERIALIZED VIEW total;"
        ),
    ),
    Rule(
        id="set-logged-rewrite",
        severity="error",
        basis="either",
        summary="SET LOGGED, SET UNLOGGED",
        effect="rewrites the table under an AccessExclusive lock; it has no concurrent form",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_logged,
        confirmed_by=was_worked_on,
        kinds=("alter_table_stmt",),
        subcommands=("AT_SetLogged", "AT_SetUnLogged"),
        example=Example(_ORDERS, "ALTER TABLE orders SET UNLOGGED;"),
        remedy="run it at a time with little traffic",
    ),
    Rule(
        id="vacuum-full-cluster",
        severity="error",
        basis="static",
        summary="VACUUM FULL, CLUSTER",
        effect="rewrites the table under an AccessExclusive lock",
        risk="reads and writes of the table are blocked for the whole rewrite",
        check=_check_full,
        kinds=("vacuum_stmt", "cluster_stmt"),
        example=Example(_ORDERS, "VACUUM FULL orders;", transactional=False),
        remedy="pg_repack or pg_squeeze, which rewrite a table while others use it",
    ),
    _make_rule(
        "create-trigger",
        "either",
        "CREATE TRIGGER on an existing table",
        "takes a ShareRowExclusive lock on the table until the migration ends",
        _check_trigger,
        ("create_trig_stmt",),
        Example(
            _TOUCH, "CREATE TRIGGER touched BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();"
        ),
        # A brief lock that lock_timeout bounds; real histories are full of it.
        severity="info",
    ),
    _make_rule(
        "drop-trigger",
        "either",
        "DROP TRIGGER",
        "takes an AccessExclusive lock on the table until the migration ends",
        _check_drop_trigger,
        ("drop_stmt",),
        Example(
            f"{_TOUCH} CREATE TRIGGER touched BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();",
            "DROP TRIGGER touched ON orders;",
        ),
        # A brief lock that lock_timeout bounds; real histories are full of it.
        severity="info",
    ),
    _make_rule(
        "create-rule",
        "measured",
        "CREATE RULE on an existing table",
        "takes an AccessExclusive lock on the table until the migration ends",
        _check_rule,
        ("rule_stmt",),
        Example(_ORDERS, "CREATE RULE kept AS ON DELETE TO orders DO INSTEAD NOTHING;"),
    ),
    _make_rule(
        "replace-view",
        "measured",
        "CREATE OR REPLACE VIEW of an existing view",
        "takes an AccessExclusive lock on the view until the migration ends",
        _check_view,
        ("view_stmt",),
        Example(_VIEW, "CREATE OR REPLACE VIEW noted AS SELECT id, note, qty FROM orders;"),
    ),
    _make_rule(
        "index-access-exclusive",
        "measured",
        "ALTER INDEX that locks the index",
        "takes an AccessExclusive lock on the index until the migration ends",
        _check_index,
        ("alter_table_stmt",),
        Example(
            "CREATE TABLE metric (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);"
            "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
            "CREATE INDEX metric_id ON ONLY metric (id); CREATE INDEX metric_a_id ON metric_a (id);",
            "ALTER INDEX metric_id ATTACH PARTITION metric_a_id;",
        ),
        confirmed_by=_was_index_locked,
        risk="reads of its table are blocked, because the planner opens every index of a table",
    ),
    _make_rule(
        "explicit-lock-table",
        "either",
        "LOCK TABLE in Share mode or stronger",
        "takes the lock and holds it until the migration ends",
        _check_lock_table,
        ("lock_stmt",),
        Example(_ORDERS, "LOCK TABLE orders IN SHARE MODE;"),
        risk="writes, and in AccessExclusive mode reads too, are blocked for the rest of the migration",
    ),
    _make_rule(
        "truncate",
        "either",
        "TRUNCATE of an existing table",
        "takes an AccessExclusive lock on the table and removes all rows",
        _check_truncate,
        ("truncate_stmt",),
        Example(_ORDERS, "TRUNCATE orders;"),
        risk="reads and writes are blocked until the migration ends, and the rows are lost",
    ),
    _make_rule(
        "truncate-cascade",
        "either",
        "TRUNCATE … CASCADE",
        "also empties every table that references this one, and every table that references those",
        _check_truncate_cascade,
        ("truncate_stmt",),
        Example(
            f"{_ORDERS} CREATE TABLE item (id bigint PRIMARY KEY, part_of bigint REFERENCES orders (id));",
            "TRUNCATE orders CASCADE;",
        ),
        risk="rows are lost in tables that the migration does not name",
    ),
)
