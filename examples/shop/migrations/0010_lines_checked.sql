-- migrate:up
ALTER TABLE w_order_lines VALIDATE CONSTRAINT w_order_lines_price;

-- migrate:down
ALTER TABLE w_order_lines DROP CONSTRAINT w_order_lines_price;
ALTER TABLE w_order_lines ADD CONSTRAINT w_order_lines_price CHECK (unit_cents > 0) NOT VALID;
