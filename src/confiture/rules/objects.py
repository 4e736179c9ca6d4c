"""Rules of triggers, rules, views and storage: mostly brief locks, and a few rewrites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from confiture.rules.measurements import locks, works
from confiture.rules.parse_tree import Name, commands, name_in, name_of
from confiture.rules.parsed_migration import Piece
from confiture.rules.recipes import part, recipe
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


def _refresh(piece: Piece) -> Iterator[Hit]:
    stmt, view = piece.stmt, name_of(piece.stmt.relation)
    if not stmt.concurrent and not piece.is_new(view):
        yield Hit(
            f"{'empties' if stmt.skip_data else 'computes anew'} {view} while reads of it wait",
            str(view),
            recipe(
                part(
                    f"-- it takes a unique index on {view}", f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view};"
                )
            ),
        )


def _logged(piece: Piece) -> Iterator[Hit]:
    table = name_of(piece.stmt.relation)
    for command in commands(piece.stmt):
        if command.sort in ("AT_SetLogged", "AT_SetUnLogged") and not piece.is_new(table):
            yield Hit(f"rewrites {table} while reads and writes of it wait", str(table))


def _full(piece: Piece) -> Iterator[Hit]:
    stmt = piece.stmt
    if piece.kind == "cluster_stmt":
        names = [name_of(stmt.relation)] if stmt.HasField("relation") else []
    elif stmt.is_vacuumcmd and is_option_on(stmt.options, "full", default=False):
        names = [name_of(rel.vacuum_relation.relation) for rel in stmt.rels]
    else:
        return
    said = ", ".join(map(str, names)) or "every table"
    if not names or not all(map(piece.is_new, names)):
        yield Hit(f"rewrites {said} while reads and writes wait", str(names[0]) if names else None)


def _trigger(piece: Piece) -> Iterator[Hit]:
    table = name_of(piece.stmt.relation)
    if not piece.is_new(table):
        yield Hit(f"locks {table} until the end of the migration: writes to it wait", str(table))


def _dropped(piece: Piece, sort: str) -> Iterator[Name]:
    if read_enum_name(piece.stmt, "remove_type") == sort:
        yield from (name_in(each.list.items[:-1]) for each in piece.stmt.objects)


def _drop_trigger(piece: Piece) -> Iterator[Hit]:
    for table in _dropped(piece, "OBJECT_TRIGGER"):
        if not piece.is_new(table):
            yield _exclusive(table)


def _exclusive(table: Name) -> Hit:
    return Hit(f"locks {table} until the end of the migration: reads and writes of it wait", str(table))


def _rule(piece: Piece) -> Iterator[Hit]:
    table = name_of(piece.stmt.relation)
    if not piece.is_new(table):
        yield _exclusive(table)


def _view(piece: Piece) -> Iterator[Hit]:
    if piece.stmt.replace:
        view = name_of(piece.stmt.view)
        yield Hit(f"locks {view} until the end of the migration: reads of it wait", str(view))


def _index(piece: Piece) -> Iterator[Hit]:
    if read_enum_name(piece.stmt, "objtype") != "OBJECT_INDEX":
        return
    index = name_of(piece.stmt.relation)
    yield Hit(f"locks the index {index}: reads of its table wait, because the planner opens it", str(index))


def _index_locked(_: Hit, piece: Piece) -> bool:
    found = piece.report.locks if piece.report else ()
    return any(each.kind == "index" and each.mode == "AccessExclusiveLock" for each in found)


def _lock_table(piece: Piece) -> Iterator[Hit]:
    if piece.stmt.mode < _SHARE:
        return
    for table in _not_new(piece, (relation.range_var for relation in piece.stmt.relations)):
        what = "writes" if piece.stmt.mode < _ACCESS_EXCLUSIVE else "reads and writes"
        yield Hit(f"locks {table} until the end of the migration: {what} of it wait", str(table))


_SHARE, _ACCESS_EXCLUSIVE = 5, 8


def _not_new(piece: Piece, relations: Iterable[Any]) -> Iterator[Name]:
    for each in map(name_of, relations):
        if not piece.is_new(each):
            yield each


def _truncate(piece: Piece) -> Iterator[Hit]:
    for table in _not_new(piece, (relation.range_var for relation in piece.stmt.relations)):
        yield Hit(f"empties {table} while reads and writes of it wait", str(table))


def _truncate_cascade(piece: Piece) -> Iterator[Hit]:
    if read_enum_name(piece.stmt, "behavior") != "DROP_CASCADE":
        return
    names = [name_of(relation.range_var) for relation in piece.stmt.relations]
    locked = piece.report.locks if piece.report else ()
    others = [
        each.relation
        for each in locked
        if each.kind == "table" and not any(name.is_rel(each.relation) for name in names)
    ]
    said = ", ".join(others) or f"every table that refers to {', '.join(map(str, names))}"
    yield Hit(f"empties {said} too", others[0] if others else str(names[0]))


def _brief(
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
        severity="warning",
        basis=basis,
        summary=summary,
        effect=effect,
        risk=more.pop("risk", "it waits for the longest query on it, and everyone else waits behind it"),
        check=check,
        confirmed_by=more.pop("confirmed_by", locks),
        kinds=kinds,
        example=example,
        remedy=more.pop("remedy", "a short migration of its own, with a lock_timeout"),
    )


RULES = (
    Rule(
        id="refresh-matview-not-concurrent",
        severity="error",
        basis="static",
        summary="REFRESH MATERIALIZED VIEW without CONCURRENTLY",
        effect="computes the view anew under an AccessExclusive lock",
        risk="nobody reads the view until it is computed",
        check=_refresh,
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
        effect="rewrites the table under an AccessExclusive lock; there is no form of it that does not",
        risk="nobody reads or writes the table until it is rewritten",
        check=_logged,
        confirmed_by=works,
        kinds=("alter_table_stmt",),
        subcommands=("AT_SetLogged", "AT_SetUnLogged"),
        example=Example(_ORDERS, "ALTER TABLE orders SET UNLOGGED;"),
        remedy="a quiet window",
    ),
    Rule(
        id="vacuum-full-cluster",
        severity="error",
        basis="static",
        summary="VACUUM FULL, CLUSTER",
        effect="rewrites the table under an AccessExclusive lock",
        risk="nobody reads or writes the table until it is rewritten",
        check=_full,
        kinds=("vacuum_stmt", "cluster_stmt"),
        example=Example(_ORDERS, "VACUUM FULL orders;", transactional=False),
        remedy="pg_repack or pg_squeeze, which rewrite beside the traffic",
    ),
    _brief(
        "create-trigger",
        "either",
        "CREATE TRIGGER on a table that is there",
        "takes a ShareRowExclusive lock on the table until the migration's end",
        _trigger,
        ("create_trig_stmt",),
        Example(
            _TOUCH, "CREATE TRIGGER touched BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();"
        ),
    ),
    _brief(
        "drop-trigger",
        "either",
        "DROP TRIGGER",
        "takes an AccessExclusive lock on the table until the migration's end",
        _drop_trigger,
        ("drop_stmt",),
        Example(
            f"{_TOUCH} CREATE TRIGGER touched BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();",
            "DROP TRIGGER touched ON orders;",
        ),
    ),
    _brief(
        "create-rule",
        "measured",
        "CREATE RULE on a table that is there",
        "takes an AccessExclusive lock on the table until the migration's end",
        _rule,
        ("rule_stmt",),
        Example(_ORDERS, "CREATE RULE kept AS ON DELETE TO orders DO INSTEAD NOTHING;"),
    ),
    _brief(
        "replace-view",
        "measured",
        "CREATE OR REPLACE VIEW of a view that is there",
        "takes an AccessExclusive lock on the view until the migration's end",
        _view,
        ("view_stmt",),
        Example(_VIEW, "CREATE OR REPLACE VIEW noted AS SELECT id, note, qty FROM orders;"),
    ),
    _brief(
        "index-access-exclusive",
        "measured",
        "ALTER INDEX that locks the index",
        "takes an AccessExclusive lock on the index until the migration's end",
        _index,
        ("alter_table_stmt",),
        Example(
            "CREATE TABLE metric (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);"
            "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
            "CREATE INDEX metric_id ON ONLY metric (id); CREATE INDEX metric_a_id ON metric_a (id);",
            "ALTER INDEX metric_id ATTACH PARTITION metric_a_id;",
        ),
        confirmed_by=_index_locked,
        risk="reads of its table wait: the planner opens every index",
    ),
    _brief(
        "explicit-lock-table",
        "either",
        "LOCK TABLE in Share mode or stronger",
        "takes the lock and holds it until the migration's end",
        _lock_table,
        ("lock_stmt",),
        Example(_ORDERS, "LOCK TABLE orders IN SHARE MODE;"),
        risk="writes wait, and reads too in AccessExclusive mode, for all the rest of the migration",
    ),
    _brief(
        "truncate",
        "either",
        "TRUNCATE of a table that is there",
        "takes an AccessExclusive lock on the table, and all rows are gone",
        _truncate,
        ("truncate_stmt",),
        Example(_ORDERS, "TRUNCATE orders;"),
        risk="reads and writes wait until the migration's end, and what was in the table is lost",
    ),
    _brief(
        "truncate-cascade",
        "either",
        "TRUNCATE … CASCADE",
        "empties every table that refers to this one, and those that refer to them",
        _truncate_cascade,
        ("truncate_stmt",),
        Example(
            f"{_ORDERS} CREATE TABLE item (id bigint PRIMARY KEY, part_of bigint REFERENCES orders (id));",
            "TRUNCATE orders CASCADE;",
        ),
        risk="rows are lost in tables that the migration does not name",
    ),
)
