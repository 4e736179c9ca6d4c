-- migrate:up
CREATE TABLE w_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES w_customers,
    placed_at timestamptz NOT NULL
);

CREATE TABLE w_order_lines (
    order_id bigint NOT NULL REFERENCES w_orders DEFERRABLE INITIALLY DEFERRED,
    product_id bigint NOT NULL REFERENCES w_products,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_cents integer NOT NULL,
    PRIMARY KEY (order_id, product_id)
);

-- migrate:down
DROP TABLE w_order_lines;
DROP TABLE w_orders;
