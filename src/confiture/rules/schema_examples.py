"""An example of each rule about schemas: SQL with the fault, and the same without it."""

from __future__ import annotations

from inspect import cleandoc

from confiture.rules.rule import Example

_TABLE = "CREATE TABLE orders (id bigint PRIMARY KEY, number text, day date, qty int);"
_KEY = "PRIMARY KEY (tenant_id, id)"
_WRITE = f"CREATE TABLE w_orders (tenant_id uuid NOT NULL, id uuid, number text, {_KEY});"
_READ = f"CREATE TABLE r_order_list (tenant_id uuid NOT NULL, id uuid, number text, {_KEY});"
_SIDES = f"{_WRITE}\n{_READ}"
_FILL = """\
CREATE FUNCTION fn_fill_order_list() RETURNS void LANGUAGE sql AS $$
    INSERT INTO r_order_list SELECT tenant_id, id, number FROM w_orders
    ON CONFLICT (tenant_id, id) DO UPDATE SET number = excluded.number
$$;"""
_NOTES = "CREATE TABLE w_notes (?, id uuid, note text, PRIMARY KEY (id));"
_OWN_NOTES = f"CREATE TABLE w_notes (tenant_id uuid NOT NULL, id uuid, {_KEY});"
_SECURED = "ALTER TABLE w_notes ENABLE ROW LEVEL SECURITY;"
_TENANT_POLICY = (
    "CREATE POLICY w_notes_tenant ON w_notes USING (tenant_id = current_setting('app.tenant')::uuid);"
)


def _contrast(schema: str, dangerous: str, instead: str, *, transactional: bool = True) -> Example:
    return Example(
        cleandoc(schema), cleandoc(dangerous), instead=cleandoc(instead), transactional=transactional
    )


def _contrast_words(schema: str, sql: str, fault: str, sound: str) -> Example:
    """Return an example of which a few words are the fault: ``?`` stands for them."""
    return _contrast(schema, sql.replace("?", fault), sql.replace("?", sound))


# Structure.
PRIMARY_KEY = _contrast_words(
    "", "CREATE TABLE orders (?, number text NOT NULL);", "id bigint", "id bigint PRIMARY KEY"
)
FOREIGN_KEY_INDEX = _contrast(
    _TABLE,
    "CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint REFERENCES orders);",
    """
    CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint REFERENCES orders);
    CREATE INDEX lines_order_id ON lines (order_id);
    """,
)
DUPLICATE_INDEX = _contrast(
    _TABLE,
    """
    CREATE INDEX orders_day ON orders (day);
    CREATE INDEX orders_by_day ON orders (day);
    """,
    "CREATE INDEX orders_day ON orders (day);",
)
REDUNDANT_INDEX = _contrast(
    _TABLE,
    """
    CREATE INDEX orders_day ON orders (day);
    CREATE INDEX orders_day_number ON orders (day, number);
    """,
    "CREATE INDEX orders_day_number ON orders (day, number);",
)
INVALID_INDEX = _contrast(
    f"{_TABLE} INSERT INTO orders VALUES (1, 'A1'), (2, 'A1');",
    """
    -- fails, because a number is used twice, and leaves the index behind
    CREATE UNIQUE INDEX CONCURRENTLY orders_number ON orders (number);
    """,
    """
    DROP INDEX CONCURRENTLY IF EXISTS orders_number;
    UPDATE orders SET number = number || '-' || id WHERE number = 'A1';
    CREATE UNIQUE INDEX CONCURRENTLY orders_number ON orders (number);
    """,
    transactional=False,
)
NOT_VALID = _contrast(
    _TABLE,
    "ALTER TABLE orders ADD CONSTRAINT orders_qty CHECK (qty > 0) NOT VALID;",
    """
    ALTER TABLE orders ADD CONSTRAINT orders_qty CHECK (qty > 0) NOT VALID;
    ALTER TABLE orders VALIDATE CONSTRAINT orders_qty;
    """,
)
UNLOGGED = _contrast_words("", "CREATE ? carts (id bigint PRIMARY KEY);", "UNLOGGED TABLE", "TABLE")
GIANT = _contrast(
    "",
    """
    -- and 300 GB of rows
    CREATE TABLE readings (at timestamptz, meter bigint, value float, PRIMARY KEY (at, meter));
    """,
    """
    CREATE TABLE readings (at timestamptz, meter bigint, value float, PRIMARY KEY (at, meter))
        PARTITION BY RANGE (at);
    CREATE TABLE readings_2026 PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    """,
)
TIMESTAMP = _contrast_words(_TABLE, "ALTER TABLE orders ADD COLUMN paid_at ?;", "timestamp", "timestamptz")

# Names and comments.
NAME_CASE = _contrast_words("", "CREATE TABLE ? (id bigint PRIMARY KEY);", '"OrderItems"', "order_items")
NAME_LENGTH = _contrast_words(
    _TABLE,
    "CREATE INDEX ? ON orders (day, number);",
    "orders_by_the_day_of_their_delivery_and_the_number_on_the_invoice",
    "orders_day_number",
)
NAME_RESERVED = _contrast_words(_TABLE, "ALTER TABLE orders ADD COLUMN ? text;", '"user"', "user_name")
COMMENT = _contrast(
    "",
    """
    CREATE TABLE currencies (code text PRIMARY KEY);
    COMMENT ON COLUMN currencies.code IS 'Three letters, as in ISO 4217.';
    """,
    """
    CREATE TABLE currencies (code text PRIMARY KEY);
    COMMENT ON TABLE currencies IS 'The currencies that we invoice in.';
    COMMENT ON COLUMN currencies.code IS 'Three letters, as in ISO 4217.';
    """,
)

# Tenants.
TENANT_COLUMN = _contrast_words("", _NOTES, "created_at timestamptz", "tenant_id uuid NOT NULL")
TENANT_COLUMN_TYPE = _contrast_words("", _NOTES, "tenant_id text NOT NULL", "tenant_id uuid NOT NULL")
TENANT_COLUMN_NULLABLE = _contrast_words("", _NOTES, "tenant_id uuid", "tenant_id uuid NOT NULL")
TENANT_INDEX = _contrast_words(
    "", "CREATE TABLE w_notes (tenant_id uuid NOT NULL, id uuid, PRIMARY KEY (?));", "id", "tenant_id, id"
)
TENANT_FOREIGN_KEY = _contrast_words(
    "CREATE TABLE w_orders (tenant_id uuid NOT NULL, id uuid PRIMARY KEY, UNIQUE (tenant_id, id));",
    """
    CREATE TABLE w_lines (
        tenant_id uuid NOT NULL, id uuid, order_id uuid,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY ?
    );
    """,
    "(order_id) REFERENCES w_orders (id)",
    "(tenant_id, order_id) REFERENCES w_orders (tenant_id, id)",
)
TENANT_UNIQUE = _contrast_words(_WRITE, "ALTER TABLE w_orders ADD UNIQUE (?);", "number", "tenant_id, number")
TENANT_ROW_SECURITY = _contrast("", _OWN_NOTES, f"{_OWN_NOTES}\n{_SECURED}\n{_TENANT_POLICY}")
TENANT_POLICY = _contrast(
    _OWN_NOTES,
    f"{_SECURED}\nCREATE POLICY w_notes_all ON w_notes USING (true);",
    f"{_SECURED}\n{_TENANT_POLICY}",
)
TENANT_VIEW = _contrast_words(
    _WRITE, "CREATE VIEW r_order_numbers AS SELECT ? FROM w_orders;", "number", "tenant_id, number"
)
TENANT_SEARCH_PATH = _contrast_words(
    _WRITE,
    """
    CREATE FUNCTION fn_count_orders() RETURNS bigint LANGUAGE sql SECURITY DEFINER?
        AS 'SELECT count(*) FROM w_orders';
    """,
    "",
    " SET search_path = pg_catalog, public",
)

# The write side and the read side.
TABLE_NAME = _contrast_words("", "CREATE TABLE ? (id bigint PRIMARY KEY);", "old_orders", "w_old_orders")
VIEW_NAME = _contrast_words(
    _WRITE, "CREATE VIEW ? AS SELECT tenant_id, number FROM w_orders;", "order_numbers", "r_order_numbers"
)
FUNCTION_NAME = _contrast_words(
    "", "CREATE FUNCTION ?(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)';", "clean", "fn_clean"
)
_SOURCES = "COMMENT ON TABLE r_order_list IS '?';"
SOURCES = _contrast_words(_SIDES, _SOURCES, "What is shown.", "What is shown. confiture: sources w_orders")
SOURCE_UNKNOWN = _contrast_words(
    _SIDES, _SOURCES, "confiture: sources w_order", "confiture: sources w_orders"
)
SOURCE_SIDE = _contrast_words(
    f"{_SIDES}\nCREATE VIEW r_order_totals AS SELECT tenant_id, count(*) FROM w_orders GROUP BY 1;",
    _SOURCES,
    "confiture: sources r_order_totals",
    "confiture: sources w_orders",
)
DIRECTION = _contrast_words(
    _SIDES,
    """
    CREATE FUNCTION fn_close_orders() RETURNS void LANGUAGE sql AS $$
        UPDATE w_orders SET number = 'closed' WHERE id IN (SELECT id FROM ? WHERE number = 'paid')
    $$;
    """,
    "r_order_list",
    "w_orders",
)
NOT_FILLED = _contrast(_WRITE, _READ, f"{_READ}\n{_FILL}")
REFILL = _contrast(
    f"{_SIDES}\n{_FILL}\nCOMMENT ON TABLE r_order_list IS 'confiture: sources w_orders';",
    "UPDATE w_orders SET number = upper(number);",
    """
    UPDATE w_orders SET number = upper(number);
    SELECT fn_fill_order_list();
    """,
)
