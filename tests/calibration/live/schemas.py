"""Two schemas of other shapes than those of the timings, and what is done to them.

Every value is computed from the row's number and a seed: the same size and seed is the same database, everywhere.
"""

from __future__ import annotations

from attrs import frozen
from psycopg import Connection


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


@frozen
class LiveSchema:
    """Tables of a size that is given, and the changes that are made to them.

    Attributes:
        tables: Creates the tables.
        rows: Fills them with ``{rows}`` rows; ``{few}`` is a thousandth, ``{seed}`` makes the values differ.
        keys: Their keys.
        analyzed: The names of the tables.
    """

    name: str
    tables: str
    rows: str
    keys: str
    analyzed: str
    changes: tuple[Change, ...]

    def fill(self, conn: Connection, rows: int, seed: int = 1) -> None:
        """Make the tables with so many rows each; nothing is left to be vacuumed or analyzed."""
        few = max(rows // 1000, 10)
        for part in (self.tables, self.rows.format(rows=rows, few=few, seed=seed * 100), self.keys):
            conn.execute(part.encode())
        # Not the system's own tables: nothing was done to them.
        conn.execute(f"VACUUM (FREEZE, ANALYZE) {self.analyzed}".encode())


PARCELS = LiveSchema(
    "parcels",
    """
    CREATE TABLE depots (id int PRIMARY KEY, name text, region int);
    CREATE TABLE parcels (
        id bigint, depot int, weight_g int, code text, state text, sent timestamptz, label jsonb
    );
    CREATE TABLE seen (parcel bigint, at timestamptz, kind smallint);
    CREATE TABLE late (parcel bigint, days int)
    """,
    """
    INSERT INTO depots SELECT i, 'depot ' || i, i % 12 FROM generate_series(0, {few} - 1) i;
    INSERT INTO parcels SELECT
        i, i::bigint * 7919 % {few}, 50 + abs(hashint8extended(i, {seed}) % 20000),
        upper(md5((i + {seed})::text)),
        (ARRAY['sent', 'sorted', 'there', 'back'])[1 + abs(hashint8extended(i, {seed} + 1) % 4)],
        '2026-01-01'::timestamptz + abs(hashint8extended(i, {seed} + 2) % 20000000) * interval '1 s',
        jsonb_build_object('to', md5((i + {seed} + 3)::text), 'floor', i % 9)
    FROM generate_series(1, {rows}) i;
    INSERT INTO seen SELECT
        1 + abs(hashint8extended(i, {seed} + 4) % {rows}),
        '2026-01-01'::timestamptz + abs(hashint8extended(i, {seed} + 5) % 20000000) * interval '1 s',
        abs(hashint8extended(i, {seed} + 6) % 8)
    FROM generate_series(1, {rows}) i
    """,
    """
    ALTER TABLE parcels ADD PRIMARY KEY (id);
    ALTER TABLE parcels ADD CONSTRAINT of_depot FOREIGN KEY (depot) REFERENCES depots NOT VALID
    """,
    "depots, parcels, seen, late",
    (
        Change("add column", "catalog", "ALTER TABLE parcels ADD insured boolean NOT NULL DEFAULT false"),
        Change("drop column", "catalog", "ALTER TABLE parcels DROP COLUMN state"),
        Change("add check", "scan", "ALTER TABLE parcels ADD CHECK (weight_g > 0)"),
        Change("set not null", "scan", "ALTER TABLE seen ALTER at SET NOT NULL"),
        Change("validate key", "foreign key", "ALTER TABLE parcels VALIDATE CONSTRAINT of_depot"),
        Change("index time", "index", "CREATE INDEX ON seen (at)"),
        Change("index text", "text index", "CREATE INDEX ON parcels (lower(code))"),
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
    ),
)

TICKETS = LiveSchema(
    "tickets",
    """
    CREATE TABLE venues (code text PRIMARY KEY, city text);
    CREATE TABLE tickets (
        number text, venue text, buyer text, seat text, row_no int, price numeric(8, 2), paid boolean,
        bought date, used_at timestamp, channel text, note text, gate int
    );
    CREATE TABLE scans (ticket int, gate int, ms int, at timestamp);
    CREATE TABLE refunds (number text, price numeric(8, 2))
    """,
    """
    INSERT INTO venues SELECT 'V' || lpad(i::text, 6, '0'), 'city ' || i % 40 FROM generate_series(1, {few}) i;
    INSERT INTO tickets SELECT
        'T' || md5((i + {seed})::text), 'V' || lpad((1 + i % {few})::text, 6, '0'),
        md5((i / 3 + {seed})::text) || '@mail.test', chr(65 + (i % 26)::int) || i % 60, i % 60,
        (abs(hashint8extended(i, {seed}) % 20000) / 100.0)::numeric(8, 2), i % 17 > 0,
        '2026-01-01'::date + (i % 300)::int,
        '2026-02-01'::timestamp + abs(hashint8extended(i, {seed} + 1) % 9000000) * interval '1 s',
        (ARRAY['web', 'app', 'box'])[1 + abs(hashint8extended(i, {seed} + 2) % 3)],
        repeat('n', (abs(hashint8extended(i, {seed} + 3) % 120))::int), i % 12
    FROM generate_series(1, {rows}) i;
    INSERT INTO scans SELECT i, i % 12, abs(hashint8extended(i, {seed} + 4) % 3000),
        '2026-02-01'::timestamp + i * interval '3 s'
    FROM generate_series(1, {rows}) i
    """,
    """
    ALTER TABLE tickets ADD PRIMARY KEY (number);
    CREATE INDEX ON tickets (bought);
    ALTER TABLE tickets ADD CONSTRAINT of_venue FOREIGN KEY (venue) REFERENCES venues NOT VALID
    """,
    "venues, tickets, scans, refunds",
    (
        Change("add column", "catalog", "ALTER TABLE tickets ADD wallet text"),
        Change("set default", "catalog", "ALTER TABLE scans ALTER gate SET DEFAULT 1"),
        Change("check price", "scan", "ALTER TABLE tickets ADD CHECK (price >= 0)"),
        Change("set not null", "scan", "ALTER TABLE scans ALTER ms SET NOT NULL"),
        Change("validate key", "foreign key", "ALTER TABLE tickets VALIDATE CONSTRAINT of_venue"),
        Change("index buyer", "text index", "CREATE INDEX ON tickets (buyer)"),
        Change("index venue", "text index", "CREATE INDEX ON tickets (venue, seat)"),
        Change("index scans", "index", "CREATE INDEX ON scans (gate, at)"),
        Change("index used", "index", "CREATE INDEX ON tickets (used_at) WHERE paid"),
        Change("price type", "rewrite", "ALTER TABLE tickets ALTER price TYPE numeric(12, 3)"),
        Change("scan type", "rewrite", "ALTER TABLE scans ALTER ms TYPE bigint"),
        Change("pay some", "dml", "UPDATE tickets SET paid = true WHERE NOT paid"),
        Change("move gates", "dml", "UPDATE scans SET gate = gate + 1"),
        Change(
            "refund", "dml", "INSERT INTO refunds SELECT number, price FROM tickets WHERE channel = 'box'"
        ),
        Change(
            "sales",
            "matview",
            "CREATE MATERIALIZED VIEW sales AS"
            " SELECT bought, channel, count(*), sum(price) FROM tickets GROUP BY 1, 2",
        ),
    ),
)
SCHEMAS = (PARCELS, TICKETS)
