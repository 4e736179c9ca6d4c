ALTER TABLE w_customers ADD COLUMN name text;
