"""The tables of the application: what is on the write side, and which read models are derived from it."""

from __future__ import annotations

_COUNTRY = "country_code char(2) NOT NULL DEFAULT 'BE'"
_AMOUNT = "amount numeric(12,2) NOT NULL DEFAULT 0"
_NAME = "name text NOT NULL"
_PERSON = "first_name text NOT NULL; last_name text NOT NULL; email text; phone text"
_ADDRESS = f"street text; postcode text; city text; {_COUNTRY}"
_DOCUMENT = "number text NOT NULL; issued_on date NOT NULL DEFAULT current_date; status text NOT NULL"
_LINE = "position integer NOT NULL; quantity numeric(12,3) NOT NULL; unit_price numeric(12,2) NOT NULL"

# name: the columns, and the tables that it refers to.
WRITE_TABLES: dict[str, tuple[str, str]] = {
    "customers": (
        f"{_PERSON}; birth_date date; iban text; vat_number text; {_ADDRESS}; notes text",
        "",
    ),
    "contacts": (f"{_PERSON}; birth_date date; job_title text; linkedin_url text", "customers"),
    "customer_addresses": (f"kind text NOT NULL; {_ADDRESS}", "customers"),
    "users": (f"{_PERSON}; password_hash text NOT NULL; last_login_at timestamptz; last_ip inet", ""),
    "roles": (_NAME, ""),
    "user_roles": ("granted_by text", "users roles"),
    "departments": (_NAME, ""),
    "employees": (
        f"{_PERSON}; birth_date date; national_id text; iban text; salary numeric(10,2); hired_on date",
        "departments",
    ),
    "suppliers": (f"{_NAME}; email text; phone text; vat_number text; {_ADDRESS}", ""),
    "supplier_contacts": (_PERSON, "suppliers"),
    "bank_accounts": ("holder_name text NOT NULL; iban text NOT NULL; bic text", "customers"),
    "product_categories": (_NAME, ""),
    "products": (f"{_NAME}; sku text NOT NULL; description text; weight_g integer", "product_categories"),
    "price_lists": (f"{_NAME}; currency char(3) NOT NULL", ""),
    "price_list_items": ("unit_price numeric(12,2) NOT NULL", "price_lists products"),
    "warehouses": (f"{_NAME}; {_ADDRESS}", ""),
    "stock_locations": ("code text NOT NULL", "warehouses"),
    "stock_items": ("quantity numeric(12,3) NOT NULL", "stock_locations products"),
    "stock_movements": ("quantity numeric(12,3) NOT NULL; reason text", "stock_items"),
    "purchase_orders": (f"{_DOCUMENT}; {_AMOUNT}", "suppliers"),
    "purchase_order_items": (_LINE, "purchase_orders products"),
    "quotes": (f"{_DOCUMENT}; {_AMOUNT}", "customers"),
    "quote_items": (_LINE, "quotes products"),
    "orders": (f"{_DOCUMENT}; {_AMOUNT}; shipping_email text; shipping_phone text", "customers"),
    "order_items": (_LINE, "orders products"),
    "order_discounts": (_AMOUNT, "orders"),
    "shipments": ("tracking_number text; shipped_at timestamptz; recipient_name text", "orders warehouses"),
    "shipment_items": ("quantity numeric(12,3) NOT NULL", "shipments order_items"),
    "returns": (_DOCUMENT, "orders"),
    "return_items": ("quantity numeric(12,3) NOT NULL", "returns order_items"),
    "invoices": (f"{_DOCUMENT}; {_AMOUNT}; billing_name text; billing_email text", "customers orders"),
    "invoice_items": (_LINE, "invoices products"),
    "payments": (f"{_AMOUNT}; paid_at timestamptz; payer_iban text", "customers"),
    "payment_allocations": (_AMOUNT, "payments invoices"),
    "refunds": (f"{_AMOUNT}; reason text", "payments"),
    "subscriptions": ("started_on date NOT NULL; ended_on date", "customers products"),
    "contracts": (f"{_DOCUMENT}; signed_at timestamptz; signer_name text", "customers"),
    "projects": (f"{_NAME}; starts_on date", "customers"),
    "tasks": ("title text NOT NULL; due_on date; done_at timestamptz", "projects"),
    "time_entries": ("worked_on date NOT NULL; minutes integer NOT NULL", "tasks employees"),
    "expenses": (f"{_AMOUNT}; spent_on date NOT NULL", "employees projects"),
    "tickets": ("subject text NOT NULL; reporter_email text; opened_at timestamptz", "customers"),
    "ticket_messages": ("sender_email text; body text NOT NULL", "tickets"),
    "campaigns": (f"{_NAME}; starts_at timestamptz", ""),
    "campaign_recipients": ("email text NOT NULL; opened_at timestamptz", "campaigns contacts"),
    "leads": (f"{_PERSON}; company_name text; source text", "campaigns"),
    "opportunities": (f"title text NOT NULL; {_AMOUNT}", "leads customers"),
    "webhooks": ("url text NOT NULL; secret text NOT NULL", ""),
    "webhook_deliveries": ("status integer; payload jsonb; tried_at timestamptz", "webhooks"),
    "api_keys": ("label text NOT NULL; key_hash text NOT NULL; expires_at timestamptz", "users"),
    "consents": ("purpose text NOT NULL; given_at timestamptz; ip_address inet", "contacts"),
}

# Read models that are tables, filled by a trigger on their first source. name: the sources.
READ_TABLES: dict[str, str] = {
    "customer_list": "customers contacts",
    "customer_lifetime_value": "invoices customers",
    "customer_balance": "payments invoices",
    "order_list": "orders customers",
    "order_details": "order_items orders products",
    "order_totals": "order_items orders",
    "invoice_list": "invoices customers",
    "payment_list": "payments customers",
    "product_catalog": "products product_categories",
    "product_prices": "price_list_items products",
    "stock_levels": "stock_movements stock_items products",
    "supplier_list": "suppliers supplier_contacts",
    "shipment_list": "shipments orders",
    "return_list": "returns orders",
    "contract_list": "contracts customers",
    "project_list": "projects customers",
    "task_board": "tasks projects",
    "timesheets": "time_entries employees",
    "expense_list": "expenses employees",
    "ticket_list": "tickets customers",
    "ticket_threads": "ticket_messages tickets",
    "campaign_results": "campaign_recipients campaigns",
    "lead_list": "leads campaigns",
    "pipeline": "opportunities leads",
    "user_list": "users user_roles roles",
    "employee_list": "employees departments",
    "webhook_log": "webhook_deliveries webhooks",
    "consent_overview": "consents contacts",
}

# Materialized views, refreshed by a function.
MATERIALIZED_VIEWS: dict[str, str] = {
    "monthly_revenue": "invoices",
    "sales_by_product": "order_items",
    "aging_report": "invoices",
    "stock_value": "stock_items",
    "ticket_statistics": "tickets",
    "campaign_statistics": "campaign_recipients",
    "hours_by_employee": "time_entries",
    "supplier_spend": "purchase_orders",
}

VIEWS: dict[str, str] = {
    "active_customers": "customers",
    "active_subscriptions": "subscriptions",
    "open_orders": "orders",
    "overdue_invoices": "invoices",
    "unpaid_invoices": "invoices",
    "open_tickets": "tickets",
    "current_prices": "price_list_items",
    "available_stock": "stock_items",
    "running_campaigns": "campaigns",
    "open_tasks": "tasks",
    "new_leads": "leads",
    "employee_directory": "employees",
}

# Neither side: what all tenants share. name: the columns, of which the first is the key.
COMMON_TABLES: dict[str, str] = {
    "tenants": "id uuid NOT NULL; name text NOT NULL; contact_email text",
    "countries": "code char(2) NOT NULL; name text NOT NULL",
    "currencies": "code char(3) NOT NULL; name text NOT NULL; decimals integer NOT NULL",
    "languages": "code char(2) NOT NULL; name text NOT NULL",
    "units": "code text NOT NULL; name text NOT NULL",
    "vat_rates": "code text NOT NULL; percent numeric(5,2) NOT NULL",
    "payment_terms": "code text NOT NULL; days integer NOT NULL",
    "carriers": "code text NOT NULL; name text NOT NULL; tracking_url text",
    "holidays": "day date NOT NULL; name text NOT NULL",
    "exchange_rates": "day date NOT NULL; currency char(3) NOT NULL; rate numeric(12,6) NOT NULL",
    "document_statuses": "code text NOT NULL; name text NOT NULL",
    "schema_facts": "fact text NOT NULL; content text",
}
