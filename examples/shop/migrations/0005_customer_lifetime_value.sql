-- migrate:up
CREATE TABLE r_customer_lifetime_value (
    customer_id bigint PRIMARY KEY,
    orders bigint NOT NULL,
    cents bigint NOT NULL
);

-- migrate:down
DROP TABLE r_customer_lifetime_value;
