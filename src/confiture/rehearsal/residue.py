"""Find what a rollback does not undo: moved sequences, statistics written in place, files that grew, slots.

Compares the state before the rehearsal with the state after it. Reading a sequence locks it in AccessShare
mode until the transaction ends. So the migration's connection reads them, while it is idle: the keeper's
transaction stays open during the rehearsal, and a DROP SEQUENCE would wait for it forever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from attrs import field, frozen
from psycopg import Connection

from confiture.models.report import Residue
from confiture.postgres.session import quote_literal, send

StoredValues = Mapping[str, Any]

COMPARISON_NOTE = (
    "residue was found by comparing before and after; other sessions or autovacuum may have caused some of it"
)
# Another session may hold a lock that a sequence cannot be read under. No comparison is worth a long wait.
_LOCK_TIMEOUT = "2s"
# The parser nests UNION ALL one level per query: thousands could exceed PostgreSQL's stack depth limit.
_SEQUENCES_A_QUERY = 200

# relpages, reltuples and relhasindex: CREATE INDEX, ANALYZE and REINDEX write them in place, so that a
# rollback keeps them.
_BEGIN_SQL = f"BEGIN READ ONLY; SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SET LOCAL statement_timeout = 0;"
_RELATIONS = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
        c.relkind = 'S' AND has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'),
        CASE WHEN c.relkind IN ('r', 'm', 't', 'i') THEN pg_relation_size(c.oid) END,
        c.relpages, c.reltuples, c.relhasindex, c.relallvisible {newer}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 't', 'i', 'p', 'I', 'S') AND c.relpersistence <> 't' AND c.oid >= 16384
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', {ignored})
"""
# A temporary slot ends with its session.
_SLOTS = """
    SELECT slot_name::text, slot_type || coalesce(' slot of ' || plugin, ' slot')
    FROM pg_catalog.pg_replication_slots WHERE NOT temporary
"""
_FIELDS = ("bytes", "relpages", "reltuples", "relhasindex", "relallvisible", "relallfrozen")
_RELALLFROZEN_SINCE = 180000


@frozen
class RelationState:
    """The state of one relation that survives a rollback.

    Attributes:
        name: Schema-qualified and quoted.
        values: The values by the name of the field.
    """

    name: str
    values: StoredValues


@frozen
class ResidueSnapshot:
    """The state of all relations at one moment.

    Attributes:
        relations: The states by the oid of the relation.
        unread_sequences: The sequences that this role may not read.
        slots: The kind of each replication slot of the server, by its name.
        fault: Why nothing could be read, else ``None``.
    """

    relations: Mapping[int, RelationState] = field(factory=dict)
    unread_sequences: tuple[str, ...] = ()
    slots: Mapping[str, str] = field(factory=dict)
    fault: str | None = None


def take_residue_snapshot(conn: Connection[Any], ignored_schema: str = "") -> ResidueSnapshot:
    """Return the state of every table, index and sequence that a rollback would not restore.

    ``ignored_schema`` is the ledger's: a rehearsal tries to write there.

    Costs two round trips for any number of relations: a thousand tables with their indexes and sequences
    take about 0.1 s. ``conn`` must be idle. Raises nothing: if another session blocks a read, the snapshot
    has a ``fault``.
    """
    try:
        return _read(conn, ignored_schema)
    except psycopg.Error as error:
        if not conn.closed:
            send(conn, "ROLLBACK")
        return ResidueSnapshot(fault=error.diag.message_primary or str(error).strip() or type(error).__name__)


def find_residue(before: ResidueSnapshot, after: ResidueSnapshot) -> tuple[Residue, ...]:
    """Return the differences, sorted by relation; nothing if one of the two snapshots has a fault."""
    if before.fault or after.fault:
        return ()
    found = [
        residue
        for oid in before.relations.keys() & after.relations.keys()
        for residue in _compare_relation(before, after, oid)
    ]
    found += _compare_slots(before.slots, after.slots)
    return tuple(sorted(found, key=lambda residue: (residue.relation, residue.what)))


def describe_comparison(before: ResidueSnapshot, after: ResidueSnapshot) -> tuple[str, ...]:
    """Return the notes on the comparison for the report."""
    if fault := before.fault or after.fault:
        return (f"cannot tell what the rollback did not undo: {fault}",)
    notes = [COMPARISON_NOTE] if find_residue(before, after) else []
    if before.unread_sequences:
        names = ", ".join(before.unread_sequences)
        notes.append(f"cannot tell if these sequences moved, because this role may not read them: {names}")
    return tuple(notes)


def _compare_relation(before: ResidueSnapshot, after: ResidueSnapshot, oid: int) -> Iterator[Residue]:
    then, now = before.relations[oid], after.relations[oid]
    for what, value in now.values.items():
        if what in then.values and then.values[what] != value:
            yield Residue(what, now.name, then.values[what], value)


def _compare_slots(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Residue]:
    for name in sorted(before.keys() ^ after.keys()):
        remove = f"it exists; to remove it: SELECT pg_drop_replication_slot({quote_literal(name)})"
        yield Residue("replication slot", name, before.get(name), remove if name in after else None)


def _read(conn: Connection[Any], ignored_schema: str) -> ResidueSnapshot:
    newer = ", c.relallfrozen" if conn.info.server_version >= _RELALLFROZEN_SINCE else ""
    found, slots = send(
        conn, f"{_BEGIN_SQL}{_RELATIONS.format(newer=newer, ignored=quote_literal(ignored_schema))};{_SLOTS}"
    )
    moved = _read_sequences(conn, [(oid, name) for oid, name, _, may_read, *_ in found if may_read])
    return ResidueSnapshot(
        relations={
            oid: RelationState(name, moved.get(oid, dict(_pair_fields(values))))
            for oid, name, _, _, *values in found
        },
        unread_sequences=tuple(
            sorted(name for _, name, kind, may_read, *_ in found if kind == "S" and not may_read)
        ),
        slots=dict(slots),
    )


def _pair_fields(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    # A sequence that may not be read gets these fields too: it always has one page and one row, so they
    # never differ.
    yield from zip(_FIELDS, values, strict=False)


def _read_sequences(conn: Connection[Any], sequences: list[tuple[int, str]]) -> dict[int, StoredValues]:
    """Return the values of the sequences, by oid."""
    # pg_sequences shows a last_value only after nextval: a setval(…, false) would go unnoticed.
    parts = [sequences[at : at + _SEQUENCES_A_QUERY] for at in range(0, len(sequences), _SEQUENCES_A_QUERY)]
    queries = [
        " UNION ALL ".join(f"SELECT {oid}::bigint, last_value, is_called FROM {name}" for oid, name in part)
        for part in parts
    ]
    answers = send(conn, ";".join([*queries, "ROLLBACK"]))
    return {
        oid: {"last_value": last_value, "is_called": is_called}
        for answer in answers
        for oid, last_value, is_called in answer
    }
