CREATE TABLE w_orders (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_id uuid NOT NULL,
    number text NOT NULL UNIQUE,
    placed_at timestamp NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES w_customers (tenant_id, id)
);
ALTER TABLE w_orders ENABLE ROW LEVEL SECURITY;
