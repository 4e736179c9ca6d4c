"""What a database carries outside itself: its settings, and who may do what with it."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import literal, rows, send
from confiture.sql.quote import quote_ident

# Their values are lists of names, quoted already: each name becomes a literal of its own.
_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+?))\s*(?:,|\Z)')


@frozen
class Setting:
    """One setting of a database.

    Attributes:
        role: Whose it is there, ``None`` for everybody's.
        name: Of the setting.
        value: As ``pg_db_role_setting`` has it.
    """

    role: str | None
    name: str
    value: str

    def sql(self, database: str) -> str:
        """Return SQL that makes it for another database."""
        value = _names(self.value) if self.name.lower() in _LISTS else literal(self.value)
        whose = f"ALTER ROLE {quote_ident(self.role)} IN DATABASE" if self.role else "ALTER DATABASE"
        return f"{whose} {quote_ident(database)} SET {_dotted(self.name)} TO {value}"


def _names(value: str) -> str:
    names = [
        found[1].replace('""', '"') if found[1] is not None else found[2] for found in _NAME.finditer(value)
    ]
    return ", ".join(literal(name) for name in names) or "''"


def _dotted(name: str) -> str:
    return ".".join(quote_ident(part) for part in name.split("."))


def read_settings(conn: Connection[Any], database: str) -> tuple[Setting, ...]:
    """Return what ALTER DATABASE SET and ALTER ROLE IN DATABASE SET have made."""
    found = rows(
        conn,
        "SELECT r.rolname::text, each FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " CROSS JOIN unnest(s.setconfig) each LEFT JOIN pg_roles r ON r.oid = s.setrole"
        f" WHERE d.datname = {literal(database)} ORDER BY s.setrole, each",
    )
    return tuple(Setting(role, *each.split("=", 1)) for role, each in found)


def copy_settings(conn: Connection[Any], settings: tuple[Setting, ...], database: str) -> tuple[str, ...]:
    """Make them for another database; return in words what could not be made."""
    refused = []
    for each in settings:
        try:
            send(conn, each.sql(database))
        except psycopg.DatabaseError as error:
            whose = f" of role {each.role}" if each.role else ""
            why = error.diag.message_primary
            refused.append(f"the setting {each.name}{whose} is not as in the database itself: {why}")
    return tuple(refused)


def copy_rights(conn: Connection[Any], source: str, database: str) -> None:
    """Give nobody more rights on the copy than on the database itself."""
    found = rows(
        conn,
        "SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, a.privilege_type"
        " FROM pg_database d CROSS JOIN aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
        f" WHERE d.datname = {literal(source)} AND a.grantee <> d.datdba",
    )
    ((explicit,),) = rows(
        conn, f"SELECT datacl IS NOT NULL FROM pg_database WHERE datname = {literal(source)}"
    )
    if explicit:
        there = f"ON DATABASE {quote_ident(database)}"
        grants = "".join(f"GRANT {right} {there} TO {role};" for role, right in found)
        send(conn, f"REVOKE ALL {there} FROM PUBLIC; {grants}")


_ROLES = """
    SELECT rolname::text, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls
    FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY oid
"""
_MEMBERS = """
    SELECT DISTINCT roleid::regrole::text, member::regrole::text FROM pg_auth_members
    WHERE pg_get_userbyid(member) NOT LIKE 'pg\\_%' ORDER BY 1, 2
"""
_WORDS = ("SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "BYPASSRLS")


def roles_sql(source: Connection[Any]) -> str:
    """Return SQL that makes the roles of ``source`` where they are missing, and who belongs to whom.

    Nobody can log in as one of them: they are there to own, and to be granted to.
    """
    each = [_role(name, rights) for name, *rights in rows(source, _ROLES)]
    return "".join(each) + "".join(_member(*row) for row in rows(source, _MEMBERS))


def _role(name: str, rights: list[bool]) -> str:
    words = " ".join(word if right else f"NO{word}" for word, right in zip(_WORDS, rights, strict=True))
    return _tolerant(f"CREATE ROLE {quote_ident(name)} {words}", "duplicate_object")


def _member(role: str, member: str) -> str:
    # A predefined role may be missing in another major version.
    return _tolerant(f"GRANT {role} TO {member}", "undefined_object OR invalid_grant_operation")


def _tolerant(statement: str, conditions: str) -> str:
    body = f"BEGIN EXECUTE {literal(statement)}; EXCEPTION WHEN {conditions} THEN NULL; END"
    return f"DO {literal(body)};"
