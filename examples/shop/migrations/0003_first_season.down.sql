TRUNCATE w_order_lines, w_orders, w_customers, w_products RESTART IDENTITY;
