-- migrate:up
CREATE TABLE r_order_totals (
    order_id bigint PRIMARY KEY,
    customer_id bigint NOT NULL,
    cents bigint NOT NULL
);

-- migrate:down
DROP TABLE r_order_totals;
