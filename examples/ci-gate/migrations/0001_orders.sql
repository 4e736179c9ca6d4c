CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer text NOT NULL,
    cents bigint NOT NULL
);
INSERT INTO orders (customer, cents) VALUES ('Ada', 1200), ('Grace', 350);
