"""Disable the connections of a copied database to other servers, before anything runs in it.

A migration, a trigger or a view that uses a foreign server or dblink would read or write production data.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection

from confiture.exceptions import RightsFault
from confiture.postgres.session import fetch_rows, quote_literal, send

_MAPPINGS = """
    SELECT CASE umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(usename) END, quote_ident(srvname)
    FROM pg_user_mappings ORDER BY 2, 1
"""
_WRAPPERS = """
    SELECT quote_ident(w.fdwname), EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvfdw = w.oid)
    FROM pg_foreign_data_wrapper w WHERE w.fdwhandler <> 0 ORDER BY 1
"""
_DBLINK = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname), pg_get_function_arguments(p.oid),
        pg_get_function_result(p.oid), has_function_privilege(p.oid, 'EXECUTE')
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname = 'c' AND p.probin LIKE '%dblink%' AND p.prorettype <> 'trigger'::regtype
        AND NOT EXISTS (SELECT FROM pg_foreign_data_wrapper w WHERE w.fdwvalidator = p.oid)
    ORDER BY 1, 2
"""
_DISABLED_MESSAGE = "dblink is disabled in a rehearsal"
# postgres_fdw connects only with a user mapping, and those are dropped. Other wrappers may need none.
_NEEDS_MAPPING = ("postgres_fdw",)


def disable_outbound(conn: Connection[Any]) -> None:
    """Drop the user mappings, and disable foreign-data wrappers and dblink, in one transaction.

    Raises:
        RightsFault: The role may not disable them, and another server could be reached.
    """
    try:
        with conn.transaction():
            ((superuser,),) = fetch_rows(conn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            if superuser:
                # The database's event triggers must not fire for these commands.
                send(conn, "SET LOCAL session_replication_role = replica")
            for who, server in fetch_rows(conn, _MAPPINGS):
                send(conn, f"DROP USER MAPPING FOR {who} SERVER {server}")
            _disable_wrappers(conn, superuser=superuser)
            _disable_dblink(conn, superuser=superuser)
    except psycopg.errors.InsufficientPrivilege as error:
        raise _build_reachable_fault(error.diag.message_primary or str(error)) from error


def _disable_wrappers(conn: Connection[Any], *, superuser: bool) -> None:
    for wrapper, used in fetch_rows(conn, _WRAPPERS):
        if superuser:
            # Not DROP … CASCADE: the foreign tables stay, for the migrations that alter them.
            send(conn, f"ALTER FOREIGN DATA WRAPPER {wrapper} NO HANDLER")
        elif used and wrapper not in _NEEDS_MAPPING:
            raise _build_reachable_fault(f"foreign servers use {wrapper}")


def _disable_dblink(conn: Connection[Any], *, superuser: bool) -> None:
    # Replaced, not dropped: views and functions may depend on them.
    body = f"BEGIN RAISE EXCEPTION USING MESSAGE = {quote_literal(_DISABLED_MESSAGE)}; END"
    for name, arguments, result, usable in fetch_rows(conn, _DBLINK):
        if superuser:
            send(
                conn,
                f"CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql"
                f" AS {quote_literal(body)}",
            )
        elif usable:
            raise _build_reachable_fault("dblink is installed, and only a superuser can disable it")


def _build_reachable_fault(why: str) -> RightsFault:
    return RightsFault(
        f"the copy of the database could reach other servers, and this role may not prevent that: {why}",
        hint="rehearse as a superuser, or on an embedded server: --in embedded",
    )
