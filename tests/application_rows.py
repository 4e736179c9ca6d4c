"""Fill the generated application with rows, and classify its columns in a profile."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from confiture_anonymize.source_schema import Column, Table, quote, read_tables

KEEP = '{{ strategy = "keep", reason = "{}" }}'
SKIP = ("audit_log", "entity_change_log")
RULES = {
    "*.tenant_id": KEEP.format("a tenant is no person"),
    "*.email": '"email"',
    "*.*_email": '"email"',
    "*.first_name": '{ strategy = "pseudonym", of = "first_name" }',
    "*.last_name": '{ strategy = "pseudonym", of = "last_name" }',
    "*.phone": '"phone"',
    "*.*_phone": '"phone"',
    "*.birth_date": '{ strategy = "date_shift", subject = "id" }',
    "*.iban": '{ strategy = "pattern", check = "iban" }',
    "*.*_iban": '{ strategy = "pattern", check = "iban" }',
    "*.bic": '"pattern"',
    "*.vat_number": '"pattern"',
    "*.national_id": '"pattern"',
    "*.street": '{ strategy = "pseudonym", of = "street" }',
    "*.postcode": '"pattern"',
    "*.city": '{ strategy = "pseudonym", of = "city" }',
    "*.notes": '"redact"',
    "*.job_title": '{ strategy = "pseudonym", of = "job" }',
    "*.linkedin_url": '"null"',
    "*.password_hash": '"hash"',
    "*.last_ip": '"hash"',
    "*.ip_address": '"hash"',
    "*.salary": '{ strategy = "noise", percent = 20 }',
    "w_suppliers.name": '{ strategy = "pseudonym", of = "company" }',
    "*.company_name": '{ strategy = "pseudonym", of = "company" }',
    "*.holder_name": '{ strategy = "pseudonym", of = "name" }',
    "*.recipient_name": '{ strategy = "pseudonym", of = "name" }',
    "*.billing_name": '{ strategy = "pseudonym", of = "name" }',
    "*.signer_name": '{ strategy = "pseudonym", of = "name" }',
    "*.granted_by": '"hash"',
    "*.subject": '"redact"',
    "*.body": '"redact"',
    "*.reason": '"redact"',
    "*.secret": '"hash"',
    "*.key_hash": '"hash"',
    "*.payload": '{ strategy = "fixed", value = "{}" }',
    "*.content": '{ strategy = "fixed", value = "{}" }',
    "*.tracking_number": '"pattern"',
}
_PLAIN = (
    "name title label description url status number kind code sku currency country_code source purpose percent"
    " unit locale language entity tracking_url fact weight_g"
)


def choose_rules(tables: tuple[Table, ...]) -> dict[str, str]:
    """Return the rules, with those that keep what is about no person: dates of documents, words, codes."""
    names = {column.name for table in tables for column in table.columns}
    kept = [name for name in _PLAIN.split() if name in names]
    kept += sorted(name for name in names if name.endswith(("_at", "_on")) or name == "day")
    return {**{f"*.{name}": KEEP.format("about no person") for name in kept}, **RULES}


def fill_tables(conn: Connection[Any], rows: int) -> None:
    """Insert rows into every table; row n of a table refers to row n of another, of the same tenant."""
    for table in read_tables(conn, "confiture"):
        few = 3 if table.name == "c_tenants" else min(rows, 200) if table.name.startswith("c_") else rows
        columns = [column for column in table.columns if not column.generated]
        names = ", ".join(quote(column.name) for column in columns)
        values = ", ".join(_render_value(table, column) for column in columns)
        conn.execute(
            f"SET session_replication_role = replica; INSERT INTO {table.sql} ({names})"
            f" SELECT {values} FROM generate_series(0, {few - 1}) AS n; RESET session_replication_role".encode()
        )


def _render_value(table: Table, column: Column) -> str:
    target = next(
        (
            key.target[1]
            for key in table.foreign_keys
            if column.name in key.columns and key.target[1] != "c_tenants"
        ),
        table.name,
    )
    is_tenant = column.name == "tenant_id" or table.name == "c_tenants"
    by_base_type = {
        "uuid": "md5('tenant' || n % 3)::uuid"
        if is_tenant
        else f"md5('{_name_target(table, column, target)}' || n)::uuid",
        "bpchar": f"lpad(to_hex(n), {column.max_chars or 1}, '0')",
        "jsonb": f"jsonb_build_object('name', '{table.name}-{column.name}-' || n)",
        "date": "date '1950-01-01' + n % 20000",
        "timestamptz": "timestamptz '2026-01-15' + make_interval(secs => n)",
        "inet": "'192.168.0.0'::inet + n",
        "bool": "n % 2 = 0",
        "numeric": "n % 99",
        "int4": "n % 99 + 1",
    }
    return by_base_type.get(column.base_type, f"'{table.name}-{column.name}-' || n")


def _name_target(table: Table, column: Column, target: str) -> str:
    return table.name if column.name == "id" else target
