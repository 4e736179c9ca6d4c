"""Check deferred constraints in a transaction that goes on, and defer them again."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from confiture.postgres.session import fetch_rows

# In a transaction that goes on, ALL IMMEDIATE would also hold for every constraint that a later migration
# creates INITIALLY DEFERRED. So the existing ones are checked by name.
_DEFERRABLE_SQL = """
    SELECT DISTINCT format('%I.%I', n.nspname, c.conname), has_schema_privilege(n.oid, 'USAGE')
    FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
    WHERE c.condeferrable
"""
# They stay immediate until the transaction ends. This defers those that are INITIALLY DEFERRED again. SET
# CONSTRAINTS takes a name, and another constraint of that name and schema may not be deferrable, which is an
# error: so one by one.
_RESTORE_DEFERRED_SQL = """
    DO $confiture$
    DECLARE constraint_name text;
    BEGIN
        FOR constraint_name IN SELECT DISTINCT format('%I.%I', n.nspname, c.conname)
            FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
            WHERE c.condeferred AND has_schema_privilege(n.oid, 'USAGE')
        LOOP
            BEGIN
                EXECUTE 'SET CONSTRAINTS ' || constraint_name || ' DEFERRED';
            EXCEPTION WHEN wrong_object_type THEN NULL;
            END;
        END LOOP;
    END
    $confiture$;
"""


def render_constraint_check(conn: Connection[Any]) -> str:
    """Return SQL that checks the deferred constraints there are, and leaves each as it was created."""
    found = fetch_rows(conn, _DEFERRABLE_SQL)
    if not found:
        return ""
    # In a schema that this role may not use, none can be named.
    which = ", ".join(name for name, _ in found) if all(usable for _, usable in found) else "ALL"
    return f"SET CONSTRAINTS {which} IMMEDIATE; {_RESTORE_DEFERRED_SQL}"
