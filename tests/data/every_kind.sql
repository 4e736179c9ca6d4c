-- One object of every kind that has a definition in the catalog.
CREATE SCHEMA shop;
CREATE SCHEMA "Odd One";
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE TYPE shop.pair AS (a integer, b text);
CREATE DOMAIN shop.zip AS text DEFAULT 'x' CHECK (length(VALUE) < 6);
CREATE TYPE shop.span AS RANGE (subtype = numeric);
CREATE COLLATION shop.plain (provider = libc, locale = 'C');
CREATE SEQUENCE shop.numbers INCREMENT BY 5;
CREATE FUNCTION shop.double(a integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2 * a';
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION shop.note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION shop.compare(a integer, b integer) RETURNS boolean LANGUAGE sql AS 'SELECT a = b';
CREATE PROCEDURE shop.clean() LANGUAGE plpgsql AS 'BEGIN END';
CREATE AGGREGATE shop.total(integer) (sfunc = int4pl, stype = integer, initcond = '0');
CREATE TABLE shop.jam (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL DEFAULT 'it''s',
    made_at timestamptz DEFAULT '2020-01-01 00:00Z',
    mood shop.mood DEFAULT 'ok',
    length integer GENERATED ALWAYS AS (length(name)) STORED,
    zip shop.zip,
    weight_g integer CONSTRAINT positive CHECK (weight_g > 0)
);
CREATE TABLE "Odd One"."Tab le" (jam bigint REFERENCES shop.jam, number serial UNIQUE) WITH (fillfactor = 70);
CREATE TABLE shop.parent (a integer);
CREATE TABLE shop.child () INHERITS (shop.parent);
CREATE TABLE shop.event (day date NOT NULL, what text) PARTITION BY RANGE (day);
CREATE TABLE shop.event_2026 PARTITION OF shop.event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE shop.event_2027 (day date NOT NULL, what text);
CREATE INDEX event_what ON shop.event (what);
CREATE INDEX jam_name ON shop.jam (lower(name)) WHERE mood = 'ok';
CREATE VIEW shop.good WITH (security_barrier) AS SELECT id, name FROM shop.jam WHERE mood = 'ok';
CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) AS jams FROM shop.jam;
CREATE TRIGGER jam_touch BEFORE UPDATE ON shop.jam FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE EVENT TRIGGER noted ON ddl_command_end WHEN TAG IN ('CREATE CONVERSION') EXECUTE FUNCTION shop.note();
CREATE RULE keep AS ON DELETE TO shop.parent DO INSTEAD NOTHING;
ALTER TABLE shop.jam ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.jam FOR SELECT USING (id > 1);
CREATE STATISTICS shop.names (ndistinct) ON id, name FROM shop.jam;
CREATE OPERATOR shop.=== (FUNCTION = shop.compare, LEFTARG = integer, RIGHTARG = integer);
CREATE OPERATOR CLASS shop.same FOR TYPE integer USING btree AS
    OPERATOR 3 pg_catalog.=, FUNCTION 1 btint4cmp(integer, integer);
CREATE CAST (shop.mood AS integer) WITH INOUT;
CREATE CONVERSION shop.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY shop.plain (TEMPLATE = simple, accept = false);
CREATE TEXT SEARCH CONFIGURATION shop.words (COPY = english);
CREATE TEXT SEARCH PARSER shop.parser (
    START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype
);
CREATE TEXT SEARCH TEMPLATE shop.template (LEXIZE = dsimple_lexize);
CREATE FOREIGN DATA WRAPPER wrapper OPTIONS (debug 'true');
CREATE SERVER far FOREIGN DATA WRAPPER wrapper OPTIONS (host 'far.example', password 'hunter2');
CREATE FOREIGN TABLE shop.remote (a integer OPTIONS (name 'b')) SERVER far OPTIONS (place 'c');
CREATE PUBLICATION news FOR TABLE ONLY shop.jam;
CREATE LANGUAGE tongue HANDLER plpgsql_call_handler;
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
COMMENT ON TABLE shop.jam IS 'sweet';
COMMENT ON COLUMN shop.jam.name IS 'as on the label';
