ALTER TABLE orders ADD COLUMN day date NOT NULL DEFAULT current_date;
