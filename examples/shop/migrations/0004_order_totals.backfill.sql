-- backfill: table=r_order_totals
-- backfill: mode=truncate
-- backfill: count=SELECT count(DISTINCT order_id) FROM w_order_lines
INSERT INTO r_order_totals (order_id, customer_id, cents)
SELECT o.id, o.customer_id, sum(l.quantity * l.unit_cents)
FROM w_orders o
JOIN w_order_lines l ON l.order_id = o.id
GROUP BY o.id
