CREATE TABLE w_customers (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);
ALTER TABLE w_customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON w_customers USING (tenant_id = current_setting('app.tenant_id')::uuid);
