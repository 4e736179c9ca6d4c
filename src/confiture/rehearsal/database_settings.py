"""Copy what a database has in shared catalogs: its settings, the rights on it, and the roles.

CREATE DATABASE … TEMPLATE and pg_dump copy none of these.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.sql.quote import quote_ident

# Their stored values are lists of quoted names (GUC_LIST_QUOTE). SET wants each name as a separate literal;
# the whole list as one literal would be one name. pg_dump has the same list.
_LIST_SETTINGS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+?))\s*(?:,|\Z)')


@frozen
class DatabaseSetting:
    """One setting of a database.

    Attributes:
        role: The role that it applies to; ``None`` for all roles.
        name: The name of the setting.
        value: The value, as stored in ``pg_db_role_setting``.
    """

    role: str | None
    name: str
    value: str

    def render_sql(self, database: str) -> str:
        """Return SQL that sets it for another database."""
        value = _quote_names(self.value) if self.name.lower() in _LIST_SETTINGS else quote_literal(self.value)
        command = f"ALTER ROLE {quote_ident(self.role)} IN DATABASE" if self.role else "ALTER DATABASE"
        return f"{command} {quote_ident(database)} SET {_quote_dotted(self.name)} TO {value}"


def _quote_names(value: str) -> str:
    names = [
        found[1].replace('""', '"') if found[1] is not None else found[2] for found in _NAME.finditer(value)
    ]
    return ", ".join(quote_literal(name) for name in names) or "''"


def _quote_dotted(name: str) -> str:
    return ".".join(quote_ident(part) for part in name.split("."))


def read_settings(conn: Connection[Any], database: str) -> tuple[DatabaseSetting, ...]:
    """Return the settings made by ALTER DATABASE SET and ALTER ROLE IN DATABASE SET."""
    found = fetch_rows(
        conn,
        "SELECT r.rolname::text, pair FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " CROSS JOIN unnest(s.setconfig) pair LEFT JOIN pg_roles r ON r.oid = s.setrole"
        f" WHERE d.datname = {quote_literal(database)} ORDER BY s.setrole, pair",
    )
    return tuple(DatabaseSetting(role, *pair.split("=", 1)) for role, pair in found)


def copy_settings(
    conn: Connection[Any], settings: tuple[DatabaseSetting, ...], database: str
) -> tuple[str, ...]:
    """Apply the settings to another database; return a sentence for each that was refused."""
    refused = []
    for setting in settings:
        try:
            send(conn, setting.render_sql(database))
        except psycopg.DatabaseError as error:
            of_role = f" of role {setting.role}" if setting.role else ""
            refused.append(
                f"could not copy the setting {setting.name}{of_role}: {error.diag.message_primary}"
            )
    return tuple(refused)


def copy_rights(conn: Connection[Any], source: str, database: str) -> None:
    """Grant the rights on the database to the same roles on the copy."""
    found = fetch_rows(
        conn,
        "SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, a.privilege_type"
        " FROM pg_database d CROSS JOIN aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
        f" WHERE d.datname = {quote_literal(source)} AND a.grantee <> d.datdba",
    )
    ((explicit,),) = fetch_rows(
        conn, f"SELECT datacl IS NOT NULL FROM pg_database WHERE datname = {quote_literal(source)}"
    )
    # datacl is NULL until somebody changes the default rights, which a new database has too. PUBLIC may
    # connect by default: revoke that first, or the copy would be open to more roles than the database.
    if explicit:
        on_database = f"ON DATABASE {quote_ident(database)}"
        grants = "".join(f"GRANT {right} {on_database} TO {role};" for role, right in found)
        send(conn, f"REVOKE ALL {on_database} FROM PUBLIC; {grants}")


_ROLES_SQL = """
    SELECT rolname::text, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls
    FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY oid
"""
_MEMBERS_SQL = """
    SELECT DISTINCT roleid::regrole::text, member::regrole::text FROM pg_auth_members
    WHERE pg_get_userbyid(member) !~ '^pg_' ORDER BY 1, 2
"""
_ROLE_OPTIONS = ("SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "BYPASSRLS")


def render_roles(source: Connection[Any]) -> str:
    """Return SQL that creates the missing roles of ``source``, and their memberships.

    The roles cannot log in: they only own objects and receive grants.
    """
    roles = [_render_role(name, rights) for name, *rights in fetch_rows(source, _ROLES_SQL)]
    return "".join(roles) + "".join(_render_membership(*row) for row in fetch_rows(source, _MEMBERS_SQL))


def _render_role(name: str, rights: list[bool]) -> str:
    options = " ".join(
        option if right else f"NO{option}" for option, right in zip(_ROLE_OPTIONS, rights, strict=True)
    )
    # CREATE ROLE has no IF NOT EXISTS.
    return _tolerate(f"CREATE ROLE {quote_ident(name)} {options}", "duplicate_object")


def _render_membership(role: str, member: str) -> str:
    # Another major version may lack a predefined role.
    return _tolerate(f"GRANT {role} TO {member}", "undefined_object OR invalid_grant_operation")


def _tolerate(statement: str, conditions: str) -> str:
    body = f"BEGIN EXECUTE {quote_literal(statement)}; EXCEPTION WHEN {conditions} THEN NULL; END"
    return f"DO {quote_literal(body)};"
