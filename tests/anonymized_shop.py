"""A small shop in two databases, and a profile of it, for the tests of copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen
from psycopg.conninfo import make_conninfo

from confiture_anonymize.strategy import Mask, Strategy
from tests.in_process import Output, run_in_process

SECRET = {"CONFITURE_ANONYMIZE_SECRET": "a secret of thirty-two bytes, ok?"}
SCHEMA = """
    CREATE TABLE w_customers (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL,
        email text UNIQUE, first_name varchar(20), phone text, iban text, card text, birth_date date,
        salary numeric(10,2), last_ip inet, notes text, seen_at timestamptz,
        shout text GENERATED ALWAYS AS (upper(first_name)) STORED);
    CREATE TABLE w_accounts (login text PRIMARY KEY, customer_id bigint REFERENCES w_customers);
    CREATE TABLE w_orders (id uuid PRIMARY KEY, customer_id bigint NOT NULL REFERENCES w_customers,
        login text REFERENCES w_accounts, parent_id uuid REFERENCES w_orders, cents int, status text NOT NULL);
    CREATE TABLE r_customers (customer_id bigint PRIMARY KEY, email text, content jsonb);
    CREATE TABLE audit_log (id int PRIMARY KEY, entry text);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO r_customers (customer_id) VALUES (NEW.id + 1000000); RETURN NEW; END $$;
"""
TRIGGER = "CREATE TRIGGER log AFTER INSERT ON w_customers FOR EACH ROW EXECUTE FUNCTION log();"
ROWS = """
    INSERT INTO w_customers (tenant_id, email, first_name, phone, iban, card, birth_date, salary, last_ip,
        notes, seen_at)
    SELECT md5((n % 3)::text)::uuid, 'person' || n || '@real-host.test', 'Givenname' || n, '+32 470 12 34 ' || 10 + n,
        'DE89370400440532013000', '4111 1111 1111 1111', date '1970-01-01' + n, 1000 + n,
        ('192.168.7.' || n)::inet, CASE WHEN n % 2 = 0 THEN 'called about invoice ' || n END, now()
    FROM generate_series(1, 60) AS n;
    INSERT INTO w_accounts SELECT 'login-of-' || id, id FROM w_customers;
    INSERT INTO w_orders SELECT md5(id::text)::uuid, id, 'login-of-' || id, md5((id % 7 + 1)::text)::uuid, 100, 'paid'
        FROM w_customers;
    INSERT INTO r_customers SELECT id, email, jsonb_build_object('email', email) FROM w_customers;
    INSERT INTO audit_log SELECT id, email || ' signed in' FROM w_customers;
"""
RULES = {
    "w_customers.email": '"email"',
    "r_customers.email": '"email"',
    "w_customers.first_name": '{ strategy = "pseudonym", of = "first_name" }',
    "w_customers.phone": '"phone"',
    "w_customers.iban": '{ strategy = "pattern", check = "iban" }',
    "w_customers.card": '{ strategy = "pattern", check = "luhn", keep_first = 6 }',
    "w_customers.birth_date": '"date_shift"',
    "w_customers.salary": '{ strategy = "noise", percent = 20 }',
    "w_customers.last_ip": '"hash"',
    "w_customers.notes": '"redact"',
    "w_customers.seen_at": '{ strategy = "keep", reason = "when a page was opened" }',
    "*.login": '"hash"',
    "r_customers.content": '{ strategy = "fixed", value = "{}" }',
    "w_orders.status": '{ strategy = "keep", reason = "one of three words" }',
}

REVERSE = Strategy("reverse", frozenset({"text"}), lambda masking: Mask(f"reverse({masking.column.name})"))
"""A strategy that a package might bring."""
MOODY = Strategy(
    "moody", frozenset({"text"}), lambda masking: Mask(f"md5(random()::text || {masking.column.name})")
)
"""One that a package should not bring: it gives another result each time."""


@frozen
class Shop:
    """Both databases and the folder with the configuration.

    Attributes:
        folder: Where commands run.
        source_url: The shop with its rows.
        target_url: The same schema without rows.
    """

    folder: Path
    source_url: str
    target_url: str

    def configure(self, rules: Mapping[str, str | None] | None = None, more: str = "", top: str = "") -> None:
        """Write the profile ``qa``; a rule that is ``None`` is left out."""
        chosen = {pattern: rule for pattern, rule in {**RULES, **(rules or {})}.items() if rule is not None}
        lines = "\n".join(f'"{pattern}" = {rule}' for pattern, rule in chosen.items())
        (self.folder / "confiture.toml").write_text(
            f'{top}\n[anonymize.profiles.qa]\nskip = ["audit_log"]\n{more}\n[anonymize.profiles.qa.columns]\n{lines}\n'
        )

    def run(self, *arguments: str, environ: Mapping[str, str] = SECRET) -> Output:
        """Run ``confiture anonymize`` with both URLs and the profile."""
        words = [word for word in arguments if not word.startswith("-")]
        flags = [word for word in arguments if word.startswith("-")]
        ends = ("--profile", "qa", "--from", self.source_url, "--to", self.target_url)
        return run_in_process(["anonymize", *words, *ends, *flags], folder=self.folder, environ=environ)

    def mask_in_place(self, *flags: str, environ: Mapping[str, str] = SECRET) -> Output:
        """Run ``confiture anonymize --in-place`` on the target."""
        arguments = ["anonymize", "--profile", "qa", "--in-place", self.target_url, *flags]
        return run_in_process(arguments, folder=self.folder, environ=environ)

    def duplicate_source(self) -> None:
        """Make the target a copy of the source, rows included."""
        name = psycopg.conninfo.conninfo_to_dict(self.target_url)["dbname"]
        original = psycopg.conninfo.conninfo_to_dict(self.source_url)["dbname"]
        with psycopg.connect(make_conninfo(self.source_url, dbname="postgres"), autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {original}".encode())

    def fetch(self, query: str, *, source: bool = False) -> list[tuple[Any, ...]]:
        """Return the rows of a query, of the copy if not of the source."""
        with psycopg.connect(self.source_url if source else self.target_url, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def open_shop(folder: Path, url: str, *, schema: str = SCHEMA + TRIGGER, rows: str = ROWS) -> Iterator[Shop]:
    """Yield a shop whose source is the database of ``url``; the target is dropped afterwards."""
    name = f"copy_{psycopg.conninfo.conninfo_to_dict(url)['dbname']}"
    # From another database: a database is duplicated only while nobody is connected to it.
    with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        try:
            target_url = make_conninfo(url, dbname=name)
            with psycopg.connect(target_url, autocommit=True) as target:
                target.execute(schema.encode())
            with psycopg.connect(url, autocommit=True) as source:
                source.execute(schema.replace(TRIGGER, "").encode())
                source.execute(rows.encode())
                source.execute(TRIGGER.encode() if TRIGGER in schema else b"SELECT 1")
            shop = Shop(folder, url, target_url)
            shop.configure()
            yield shop
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
