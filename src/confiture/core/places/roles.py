"""The roles of a server, for another one: their names and rights, never a password."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from confiture.core.session import identifier, literal, rows

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
    return _tolerant(f"CREATE ROLE {identifier(name)} {words}", "duplicate_object")


def _member(role: str, member: str) -> str:
    # A predefined role may be missing in another major version.
    return _tolerant(f"GRANT {role} TO {member}", "undefined_object OR invalid_grant_operation")


def _tolerant(statement: str, conditions: str) -> str:
    body = f"BEGIN EXECUTE {literal(statement)}; EXCEPTION WHEN {conditions} THEN NULL; END"
    return f"DO {literal(body)};"
