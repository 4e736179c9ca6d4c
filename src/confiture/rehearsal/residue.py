"""What a rollback cannot undo: sequences moved, statistics written in place, files grown.

Looked for by comparing before and after. Sequences are read one by one, which locks each of them
weakly until the transaction's end: so not on the keeper's connection, whose transaction stands open
meanwhile and would make a DROP SEQUENCE of the rehearsal wait for ever, but on the migrating one,
while it is idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from attrs import field, frozen
from psycopg import Connection

from confiture.models.report import Residue
from confiture.postgres.session import fetch_rows, send

StoredValues = Mapping[str, Any]

COMPARISON_NOTE = (
    "residue was found by comparing before and after: other sessions and autovacuum may have had a part in it"
)
_LOCK_TIMEOUT = "2s"
# One UNION of all of them would be nested as deep as there are sequences.
_SEQUENCES_A_QUERY = 200

_BEGIN_SQL = f"BEGIN READ ONLY; SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SET LOCAL statement_timeout = 0;"
_RELATIONS = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
        c.relkind = 'S' AND has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'),
        CASE WHEN c.relkind IN ('r', 'm', 't', 'i') THEN pg_relation_size(c.oid) END,
        c.relpages, c.reltuples, c.relhasindex, c.relallvisible {newer}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 't', 'i', 'p', 'I', 'S') AND c.relpersistence <> 't' AND c.oid >= 16384
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
_FIELDS = ("bytes", "relpages", "reltuples", "relhasindex", "relallvisible", "relallfrozen")
_RELALLFROZEN_SINCE = 180000


@frozen
class RelationState:
    """One relation as it was found: its name, and what of it outlives a rollback."""

    name: str
    values: StoredValues


@frozen
class ResidueSnapshot:
    """What there was at one moment.

    Attributes:
        relations: By oid.
        unread_sequences: The sequences that this role may not read.
        fault: Why nothing could be read, else ``None``.
    """

    relations: Mapping[int, RelationState] = field(factory=dict)
    unread_sequences: tuple[str, ...] = ()
    fault: str | None = None


def take_residue_snapshot(conn: Connection[Any]) -> ResidueSnapshot:
    """Return what of every table, index and sequence a rollback would not put back.

    Two round trips, whatever the number of relations: a thousand tables with their indexes and sequences
    take about a tenth of a second. ``conn`` is idle. It never raises: what cannot be
    read, because another session holds it locked, is said.
    """
    try:
        return _read(conn)
    except psycopg.Error as error:
        if not conn.closed:
            send(conn, "ROLLBACK")
        return ResidueSnapshot(fault=error.diag.message_primary or str(error).strip() or type(error).__name__)


def find_residue(before: ResidueSnapshot, after: ResidueSnapshot) -> tuple[Residue, ...]:
    """Return what differs, by relation; nothing where one of the two could not be read."""
    if before.fault or after.fault:
        return ()
    found = [
        residue_item
        for oid in before.relations.keys() & after.relations.keys()
        for residue_item in _compare_relation(before, after, oid)
    ]
    return tuple(sorted(found, key=lambda residue_item: (residue_item.relation, residue_item.what)))


def describe_comparison(before: ResidueSnapshot, after: ResidueSnapshot) -> tuple[str, ...]:
    """Return what a reader must know of the comparison."""
    if fault := before.fault or after.fault:
        return (f"what the rollback could not undo is not known: {fault}",)
    each = [COMPARISON_NOTE] if find_residue(before, after) else []
    if before.unread_sequences:
        names = ", ".join(before.unread_sequences)
        each.append(f"whether these sequences moved is not known, this role may not read them: {names}")
    return tuple(each)


def _compare_relation(before: ResidueSnapshot, after: ResidueSnapshot, oid: int) -> Iterator[Residue]:
    then, now = before.relations[oid], after.relations[oid]
    for what, value in now.values.items():
        if what in then.values and then.values[what] != value:
            yield Residue(what, now.name, then.values[what], value)


def _read(conn: Connection[Any]) -> ResidueSnapshot:
    newer = ", c.relallfrozen" if conn.info.server_version >= _RELALLFROZEN_SINCE else ""
    found = fetch_rows(conn, _BEGIN_SQL + _RELATIONS.format(newer=newer))
    moved = _read_sequences(conn, [(oid, name) for oid, name, _, may_read, *_ in found if may_read])
    return ResidueSnapshot(
        relations={
            oid: RelationState(name, moved.get(oid, dict(_pair_fields(more))))
            for oid, name, _, _, *more in found
        },
        unread_sequences=tuple(
            sorted(name for _, name, kind, may_read, *_ in found if kind == "S" and not may_read)
        ),
    )


def _pair_fields(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    # A sequence's page and row are always one: they never differ.
    yield from zip(_FIELDS, values, strict=False)


def _read_sequences(conn: Connection[Any], sequences: list[tuple[int, str]]) -> dict[int, StoredValues]:
    """Read the sequences themselves: pg_sequences does not tell one that was set from one never used."""
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
