"""What a database carries outside itself: its settings, and who may do what with it."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.sql.quote import quote_ident

# Their values are lists of names, quoted already: each name becomes a literal of its own.
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
        role: Whose it is there, ``None`` for everybody's.
        name: Of the setting.
        value: As ``pg_db_role_setting`` has it.
    """

    role: str | None
    name: str
    value: str

    def render_sql(self, database: str) -> str:
        """Return SQL that makes it for another database."""
        value = _quote_names(self.value) if self.name.lower() in _LIST_SETTINGS else quote_literal(self.value)
        whose = f"ALTER ROLE {quote_ident(self.role)} IN DATABASE" if self.role else "ALTER DATABASE"
        return f"{whose} {quote_ident(database)} SET {_quote_dotted(self.name)} TO {value}"


def _quote_names(value: str) -> str:
    names = [
        found[1].replace('""', '"') if found[1] is not None else found[2] for found in _NAME.finditer(value)
    ]
    return ", ".join(quote_literal(name) for name in names) or "''"


def _quote_dotted(name: str) -> str:
    return ".".join(quote_ident(part) for part in name.split("."))


def read_settings(conn: Connection[Any], database: str) -> tuple[DatabaseSetting, ...]:
    """Return what ALTER DATABASE SET and ALTER ROLE IN DATABASE SET have made."""
    found = fetch_rows(
        conn,
        "SELECT r.rolname::text, each FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " CROSS JOIN unnest(s.setconfig) each LEFT JOIN pg_roles r ON r.oid = s.setrole"
        f" WHERE d.datname = {quote_literal(database)} ORDER BY s.setrole, each",
    )
    return tuple(DatabaseSetting(role, *item.split("=", 1)) for role, item in found)


def copy_settings(
    conn: Connection[Any], settings: tuple[DatabaseSetting, ...], database: str
) -> tuple[str, ...]:
    """Make them for another database; return in words what could not be made."""
    refused = []
    for setting in settings:
        try:
            send(conn, setting.render_sql(database))
        except psycopg.DatabaseError as error:
            whose = f" of role {setting.role}" if setting.role else ""
            why = error.diag.message_primary
            refused.append(f"the setting {setting.name}{whose} is not as in the database itself: {why}")
    return tuple(refused)


def copy_rights(conn: Connection[Any], source: str, database: str) -> None:
    """Give nobody more rights on the copy than on the database itself."""
    found = fetch_rows(
        conn,
        "SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, a.privilege_type"
        " FROM pg_database d CROSS JOIN aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
        f" WHERE d.datname = {quote_literal(source)} AND a.grantee <> d.datdba",
    )
    ((explicit,),) = fetch_rows(
        conn, f"SELECT datacl IS NOT NULL FROM pg_database WHERE datname = {quote_literal(source)}"
    )
    if explicit:
        there = f"ON DATABASE {quote_ident(database)}"
        grants = "".join(f"GRANT {right} {there} TO {role};" for role, right in found)
        send(conn, f"REVOKE ALL {there} FROM PUBLIC; {grants}")


_ROLES_SQL = """
    SELECT rolname::text, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls
    FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY oid
"""
_MEMBERS_SQL = """
    SELECT DISTINCT roleid::regrole::text, member::regrole::text FROM pg_auth_members
    WHERE pg_get_userbyid(member) NOT LIKE 'pg\\_%' ORDER BY 1, 2
"""
_ROLE_OPTIONS = ("SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "BYPASSRLS")


def render_roles(source: Connection[Any]) -> str:
    """Return SQL that makes the roles of ``source`` where they are missing, and who belongs to whom.

    Nobody can log in as one of them: they are there to own, and to be granted to.
    """
    each = [_render_role(name, rights) for name, *rights in fetch_rows(source, _ROLES_SQL)]
    return "".join(each) + "".join(_render_membership(*row) for row in fetch_rows(source, _MEMBERS_SQL))


def _render_role(name: str, rights: list[bool]) -> str:
    words = " ".join(
        word if right else f"NO{word}" for word, right in zip(_ROLE_OPTIONS, rights, strict=True)
    )
    return _tolerate(f"CREATE ROLE {quote_ident(name)} {words}", "duplicate_object")


def _render_membership(role: str, member: str) -> str:
    # A predefined role may be missing in another major version.
    return _tolerate(f"GRANT {role} TO {member}", "undefined_object OR invalid_grant_operation")


def _tolerate(statement: str, conditions: str) -> str:
    body = f"BEGIN EXECUTE {quote_literal(statement)}; EXCEPTION WHEN {conditions} THEN NULL; END"
    return f"DO {quote_literal(body)};"
