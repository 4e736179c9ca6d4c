CREATE TABLE r_order_list (
    tenant_id uuid NOT NULL,
    order_id uuid NOT NULL,
    label text NOT NULL,
    PRIMARY KEY (tenant_id, order_id)
);
ALTER TABLE r_order_list ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON r_order_list USING (tenant_id = current_setting('app.tenant_id')::uuid);
COMMENT ON TABLE r_order_list IS 'confiture: sources w_orders, w_customers';

CREATE FUNCTION fn_list_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO r_order_list SELECT o.tenant_id, o.id, o.number || ' ' || c.email
    FROM w_orders o JOIN w_customers c ON c.tenant_id = o.tenant_id AND c.id = o.customer_id
    WHERE o.tenant_id = NEW.tenant_id AND o.id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER list_order AFTER INSERT ON w_orders FOR EACH ROW EXECUTE FUNCTION fn_list_order();

CREATE FUNCTION fn_next_number(tenant uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE w_orders SET number = (SELECT count(*) FROM r_order_list WHERE tenant_id = tenant)
    WHERE tenant_id = tenant AND number = '';
    RETURN 'done';
END $$;
