"""Parcels and where they were seen: two tables of other shapes than those of the timings, and what is done to them.

Every value is computed from the row's number: the same size is the same database, everywhere.
"""

from __future__ import annotations

from attrs import frozen
from psycopg import Connection

_TABLES = """
    CREATE TABLE depots (id int PRIMARY KEY, name text, region int);
    CREATE TABLE parcels (
        id bigint, depot int, weight_g int, code text, state text, sent timestamptz, label jsonb
    );
    CREATE TABLE seen (parcel bigint, at timestamptz, kind smallint);
    CREATE TABLE late (parcel bigint, days int)
"""
_ROWS = """
    INSERT INTO depots SELECT i, 'depot ' || i, i % 12 FROM generate_series(0, {depots} - 1) i;
    INSERT INTO parcels SELECT
        i, i::bigint * 7919 % {depots}, 50 + abs(hashint8(i)::bigint) % 20000, upper(md5(i::text)),
        (ARRAY['sent', 'sorted', 'there', 'back'])[1 + abs(hashint8(i + 1)::bigint) % 4],
        '2026-01-01'::timestamptz + (abs(hashint8(i + 2)::bigint) % 20000000) * interval '1 s',
        jsonb_build_object('to', md5((i + 3)::text), 'floor', i % 9)
    FROM generate_series(1, {rows}) i;
    INSERT INTO seen SELECT
        1 + abs(hashint8(i + 4)::bigint) % {rows},
        '2026-01-01'::timestamptz + (abs(hashint8(i + 5)::bigint) % 20000000) * interval '1 s',
        abs(hashint8(i + 6)::bigint) % 8
    FROM generate_series(1, {rows}) i
"""
_KEYS = """
    ALTER TABLE parcels ADD PRIMARY KEY (id);
    ALTER TABLE parcels ADD CONSTRAINT of_depot FOREIGN KEY (depot) REFERENCES depots NOT VALID
"""


@frozen
class Change:
    """One migration of one statement.

    Attributes:
        name: In a word or two, for the picture.
        work: The class it is expected to be of.
    """

    name: str
    work: str
    sql: str


CHANGES = (
    Change("add column", "catalog", "ALTER TABLE parcels ADD insured boolean NOT NULL DEFAULT false"),
    Change("drop column", "catalog", "ALTER TABLE parcels DROP COLUMN state"),
    Change("add check", "scan", "ALTER TABLE parcels ADD CHECK (weight_g > 0)"),
    Change("set not null", "scan", "ALTER TABLE seen ALTER at SET NOT NULL"),
    Change("validate key", "scan", "ALTER TABLE parcels VALIDATE CONSTRAINT of_depot"),
    Change("index time", "index", "CREATE INDEX ON seen (at)"),
    Change("index text", "index", "CREATE INDEX ON parcels (lower(code))"),
    Change("index two", "index", "CREATE UNIQUE INDEX ON parcels (depot, id)"),
    Change("widen narrow", "rewrite", "ALTER TABLE seen ALTER kind TYPE int"),
    Change("add token", "rewrite", "ALTER TABLE parcels ADD token uuid DEFAULT gen_random_uuid()"),
    Change("update all", "dml", "UPDATE seen SET kind = kind + 1"),
    Change("delete some", "dml", "DELETE FROM seen WHERE kind = 3"),
    Change(
        "insert some",
        "dml",
        "INSERT INTO late SELECT id, weight_g % 9 FROM parcels WHERE state = 'back'",
    ),
    Change(
        "matview",
        "matview",
        "CREATE MATERIALIZED VIEW a_depot AS"
        " SELECT depot, count(*) AS parcels, avg(weight_g) AS weight_g FROM parcels GROUP BY depot",
    ),
)


def fill(conn: Connection, rows: int) -> None:
    """Make the tables with so many rows each, settled: nothing is left to be vacuumed or analysed."""
    for part in (_TABLES, _ROWS.format(rows=rows, depots=max(rows // 1000, 10)), _KEYS):
        conn.execute(part.encode())
    # Not of what is nobody's business: the system's own tables are as they were.
    conn.execute("VACUUM (FREEZE, ANALYZE) depots, parcels, seen, late")
