CREATE TABLE invoices (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cents bigint NOT NULL);
INSERT INTO invoices (cents) VALUES (1250), (99);
-- Stands for the work on a large table, so that there is something to kill.
SELECT pg_sleep(0.1);
