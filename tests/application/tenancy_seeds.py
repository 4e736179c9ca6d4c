"""Seeds of the rules about tenants."""

from __future__ import annotations

from collections.abc import Iterator

from tests.application.function_text import render_function
from tests.application.seeds import Seed, seed_sql, seed_table, with_extra
from tests.application.table_text import TENANT, Table, render_comment

# Not the sound definition, so without its foreign key to the tenants.
_ALONE = f"{TENANT} CHECK (tenant_id <> '00000000-0000-0000-0000-000000000000')"


def list_tenancy_seeds() -> Iterator[Seed]:
    """Yield the faults and their twins."""
    yield from _list_columns()
    yield from _list_keys()
    yield from _list_security()
    yield from _list_views()
    yield from _list_functions()


def _list_columns() -> Iterator[Seed]:
    without = Table(
        "w_site_visits", tenant="", key="id", policy="created_at < now()", indexes=("(created_at)",)
    )
    yield seed_table(without, "tenant-column")
    other_name = Table(
        "w_site_photos",
        ("company_id uuid NOT NULL",),
        tenant="",
        key="id",
        policy="company_id IS NOT NULL",
        indexes=("(company_id)",),
    )
    yield seed_table(other_name, "tenant-column")
    for name, type_name in (("meters", "bigint"), ("readings", "text")):
        policy = f"tenant_id = current_setting('app.tenant_id')::{type_name}"
        table = Table(f"w_{name}", tenant=f"tenant_id {type_name} NOT NULL", policy=policy)
        yield seed_table(table, "tenant-column-type", word=type_name)
    for name in ("drafts", "templates"):
        table = Table(f"w_{name}", tenant="tenant_id uuid", key="id")
        yield seed_table(table, "tenant-column-nullable")
    yield seed_table(
        Table("w_badges", tenant=_ALONE, key="id", indexes=("(created_at, tenant_id)",)), "tenant-index"
    )
    partial = "(tenant_id, created_at) WHERE updated_at IS NULL"
    yield seed_table(Table("w_tokens", tenant=_ALONE, key="id", indexes=(partial,)), "tenant-index")
    yield seed_table(Table("w_stickers", tenant=_ALONE, key="id", indexes=("(tenant_id)",)))


def _list_keys() -> Iterator[Seed]:
    yield seed_table(Table("w_devices", key="id"))
    for name, columns in (("device_logs", "(device_id)"), ("device_errors", "(device_id)")):
        refers = (
            f"ALTER TABLE w_{name} ADD CONSTRAINT w_{name}_device FOREIGN KEY {columns} REFERENCES w_devices (id);",
            f"CREATE INDEX w_{name}_device ON w_{name} {columns};",
        )
        table = with_extra(name, *refers, columns=("device_id uuid",))
        yield seed_table(table, "tenant-foreign-key", word=f"w_{name}_device")
    country = (
        "ALTER TABLE w_routes ADD FOREIGN KEY (country) REFERENCES c_countries (code);",
        "CREATE INDEX w_routes_country ON w_routes (country);",
    )
    yield seed_table(with_extra("routes", *country, columns=("country char(2)",)))
    emails = "ALTER TABLE w_mailboxes ADD CONSTRAINT w_mailboxes_email UNIQUE (email);"
    yield seed_table(
        with_extra("mailboxes", emails, columns=("email text",)), "tenant-unique", word="w_mailboxes_email"
    )
    expression = "CREATE UNIQUE INDEX w_aliases_email ON w_aliases (lower(email));"
    yield seed_table(
        with_extra("aliases", expression, columns=("email text",)), "tenant-unique", word="w_aliases_email"
    )
    sound = (
        "ALTER TABLE w_domains ADD UNIQUE (tenant_id, host);",
        "CREATE UNIQUE INDEX w_domains_lower ON w_domains (tenant_id, lower(host));",
        "CREATE UNIQUE INDEX w_domains_main ON w_domains (tenant_id) WHERE host IS NULL;",
    )
    yield seed_table(with_extra("domains", *sound, columns=("host text",)))


def _list_security() -> Iterator[Seed]:
    yield seed_table(Table("w_diaries", row_security=False), "tenant-row-security")
    yield seed_table(Table("w_memos", row_security=False, policy=""), "tenant-row-security")
    yield seed_table(Table("w_folders_shared", policy=""), "tenant-policy")
    yield seed_table(Table("w_links", policy="created_at < now()"), "tenant-policy")
    other = Table("w_bookmarks", ("owner_tenant_id uuid",), policy="owner_tenant_id IS NOT NULL")
    yield seed_table(other, "tenant-policy")
    among = "tenant_id IN (SELECT t.id FROM c_tenants t WHERE t.name = current_user)"
    yield seed_table(Table("w_favourites", policy=among))


def _list_views() -> Iterator[Seed]:
    folder = "02_query_side"
    for name, body, fault in (
        ("order_numbers", "SELECT id, number FROM w_orders", True),
        (
            "late_invoices",
            "SELECT i.id, c.email FROM w_invoices i JOIN w_customers c USING (tenant_id)",
            True,
        ),
        ("order_numbers_again", "SELECT number FROM r_order_numbers", True),
        ("country_names", "SELECT code, name FROM c_countries", False),
        ("order_tenants", "SELECT o.tenant_id, o.number FROM w_orders o", False),
    ):
        comment = render_comment("VIEW", f"r_{name}", "A selection.")
        sql = f"CREATE VIEW r_{name} AS {body};\n{comment}\n"
        expected = (("tenant-view", f"public.r_{name}", ""),) if fault else ()
        yield seed_sql(f"r_{name}", sql, *expected, folder=folder)


def _list_functions() -> Iterator[Seed]:
    for name, options, fault in (
        ("unlock_user", " SECURITY DEFINER", True),
        ("reset_password", " SECURITY DEFINER SET statement_timeout = '5s'", True),
        ("sign_in", " SECURITY DEFINER SET search_path = ''", False),
        ("sign_out", " SECURITY INVOKER", False),
    ):
        sql = render_function(f"fn_{name}() RETURNS integer", "sql", "SELECT 1", options)
        expected = (("tenant-definer-search-path", f"public.fn_{name}()", ""),) if fault else ()
        yield seed_sql(f"fn_{name}", sql, *expected)
