-- confiture: no-transaction

-- migrate:up
CREATE INDEX CONCURRENTLY w_orders_customer_id ON w_orders (customer_id);
CREATE INDEX CONCURRENTLY w_orders_open ON w_orders (placed_at) WHERE status = 'open';

-- migrate:down
DROP INDEX CONCURRENTLY w_orders_open;
DROP INDEX CONCURRENTLY w_orders_customer_id;
