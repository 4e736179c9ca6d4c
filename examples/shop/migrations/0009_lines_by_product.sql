-- confiture: lock_timeout=500ms

-- migrate:up
ALTER TABLE w_order_lines ADD CONSTRAINT w_order_lines_price CHECK (unit_cents > 0) NOT VALID;
COMMENT ON TABLE w_order_lines IS 'what was ordered, at the price of that day';

-- migrate:down
ALTER TABLE w_order_lines DROP CONSTRAINT w_order_lines_price;
COMMENT ON TABLE w_order_lines IS NULL;
