CREATE TABLE invoices (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cents bigint NOT NULL);
INSERT INTO invoices (cents) VALUES (1250), (99);
ALTER TABLE orders ADD COLUMN cents bigint;
UPDATE orders SET cents = euros * 100;
