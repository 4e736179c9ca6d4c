-- migrate:up
ALTER TABLE jams ADD COLUMN jars integer NOT NULL DEFAULT 0;

-- migrate:down
ALTER TABLE jams DROP COLUMN jars;
