"""The objects of one tenant's schema, by a name that all tenants share, so that tenants can be compared."""

from __future__ import annotations

from confiture.catalog.object_query import FINGERPRINT, render_object_query
from confiture.postgres.session import quote_literal

TENANT = "tenant"
"""What stands for the tenant's schema in identities and definitions."""

# Not within another name, and not after a dot: public.acme.id is a column of a table that is called acme.
_NAME_BEGINS, _NAME_ENDS = r'(?<![\w$".])', r"\."
_SPECIAL, _ESCAPED = quote_literal(r"(\W)"), quote_literal(r"\\\1")


def render_tenant_query(own_schema: str, version: int, tenant: str) -> str:
    """Return the query of a tenant's objects, to be sent after ``CANONICAL_SETTINGS`` in a transaction.

    An object belongs to the tenant if its identity names the schema: extensions and publications are of the
    whole database. A schema that is called like one of its own tables may look different from the others,
    because the names of columns in a view begin with the same word.
    """
    name = quote_literal(tenant)
    # Every special character escaped.
    quoted = f"regexp_replace(quote_ident({name}), {_SPECIAL}, {_ESCAPED}, 'g')"
    pattern = f"({quote_literal(_NAME_BEGINS)} || {quoted} || {quote_literal(_NAME_ENDS)})"
    # As PostgreSQL prints it, which never writes E'…'.
    setting = f"'SET search_path TO ''' || replace({name}, '''', '''''') || ''''"
    return f"""
    SELECT kind, regexp_replace(identity, {pattern}, '{TENANT}.', 'g') AS identity,
        replace(regexp_replace(ddl, {pattern}, '{TENANT}.', 'g'), {setting},
            'SET search_path TO ''{TENANT}''') AS ddl
    FROM ({render_object_query(own_schema, version, tenant)}) objects WHERE identity ~ {pattern}
    """


def render_tenant_version_query(own_schema: str, version: int, tenant: str) -> str:
    """Return the query for the fingerprint of a tenant's objects."""
    return f"SELECT {FINGERPRINT} FROM ({render_tenant_query(own_schema, version, tenant)}) found"
