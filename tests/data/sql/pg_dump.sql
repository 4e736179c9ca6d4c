--
-- PostgreSQL database dump
--

\restrict Dh7QmJ2ZtX0c4bY9kLw1R5sVn8aPfE3uGi6oTqHxB

-- Dumped from database version 18.0
-- Dumped by pg_dump version 18.0

SET statement_timeout = 0;
SET lock_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;

--
-- Name: jam; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jam (
    id integer NOT NULL,
    fruit text
);


--
-- Name: boil(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.boil() RETURNS trigger
    LANGUAGE plpgsql
    AS $_$
begin
  -- a comment; with a semicolon and a quote '
  raise notice '\. %', $1;
  return new;
end;
$_$;


--
-- Data for Name: jam; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.jam (id, fruit) FROM stdin;
1	plum
2	it's; a \\ fig
3	\N
\.


--
-- Name: jam jam_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jam
    ADD CONSTRAINT jam_pkey PRIMARY KEY (id);


--
-- PostgreSQL database dump complete
--

\unrestrict Dh7QmJ2ZtX0c4bY9kLw1R5sVn8aPfE3uGi6oTqHxB

