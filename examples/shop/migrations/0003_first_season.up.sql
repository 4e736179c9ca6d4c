COPY w_products (name, cents) FROM STDIN;
plum jam	450
fig jam	620
apricot jam	480
quince jelly	530
bitter orange marmalade	590
\.

INSERT INTO w_customers (email, joined_on)
SELECT 'customer' || n || '@example.com', date '2024-01-01' + n % 365
FROM generate_series(1, 2000) AS n;

INSERT INTO w_orders (customer_id, placed_at)
SELECT 1 + n % 1900, timestamptz '2024-06-01 08:00+00' + n * interval '7 minutes'
FROM generate_series(1, 20000) AS n;

INSERT INTO w_order_lines (order_id, product_id, quantity, unit_cents)
SELECT o.id, p.id, 1 + (o.id + p.id) % 4, p.cents
FROM w_orders o
JOIN w_products p ON (o.id + p.id) % 3 = 0;
