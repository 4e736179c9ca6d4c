-- migrate:up
CREATE TABLE w_customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    joined_on date NOT NULL
);

CREATE TABLE w_products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    cents integer NOT NULL CHECK (cents > 0)
);

-- migrate:down
DROP TABLE w_products;
DROP TABLE w_customers;
