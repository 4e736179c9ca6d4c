"""Keep a rehearsal in a clone from changing what all databases of the server share.

Roles, tablespaces, databases, subscriptions and ALTER SYSTEM belong to the server; a clone does not
isolate them, nor what reaches outside of it (``sql.outward``). A file that does either is refused before
anything runs, a function that reaches outside before its statement is sent. Comparing the shared catalogs
before each commit finds the changes that a DO block or a function makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define
from psycopg import Connection

from confiture.exceptions import MigrationFault, MigrationFaults
from confiture.migrations.prepare import PreparedMigration
from confiture.postgres.session import Session, fetch_rows
from confiture.rehearsal.trace.outward_watch import describe_effect
from confiture.sql.outward import OutwardEffect, find_outward
from confiture.sql.parser import ParseError, RawStatement, parse

_SHARED_STATEMENTS = {
    "create_role_stmt": "CREATE ROLE",
    "alter_role_stmt": "ALTER ROLE",
    "alter_role_set_stmt": "ALTER ROLE … SET",
    "drop_role_stmt": "DROP ROLE",
    "grant_role_stmt": "GRANT or REVOKE of a role",
    "drop_owned_stmt": "DROP OWNED",
    "reassign_owned_stmt": "REASSIGN OWNED",
    "create_table_space_stmt": "CREATE TABLESPACE",
    "drop_table_space_stmt": "DROP TABLESPACE",
    "alter_table_space_options_stmt": "ALTER TABLESPACE",
    "alter_system_stmt": "ALTER SYSTEM",
    "createdb_stmt": "CREATE DATABASE",
    "dropdb_stmt": "DROP DATABASE",
    "alter_database_stmt": "ALTER DATABASE",
    "alter_database_set_stmt": "ALTER DATABASE … SET",
    "alter_database_refresh_coll_stmt": "ALTER DATABASE",
    "create_subscription_stmt": "CREATE SUBSCRIPTION",
    "alter_subscription_stmt": "ALTER SUBSCRIPTION",
    "drop_subscription_stmt": "DROP SUBSCRIPTION",
}
# These change a shared object or not, by the kind of object in this field. With the words for the message.
_OBJECT_STATEMENTS = {
    "rename_stmt": ("rename_type", "ALTER {} … RENAME"),
    "alter_owner_stmt": ("object_type", "ALTER {} … OWNER TO"),
    "comment_stmt": ("objtype", "COMMENT ON {}"),
    "sec_label_stmt": ("objtype", "SECURITY LABEL ON {}"),
    "grant_stmt": ("objtype", "GRANT or REVOKE on a {}"),
}
_SHARED_OBJECTS = {
    "OBJECT_ROLE": "ROLE",
    "OBJECT_DATABASE": "DATABASE",
    "OBJECT_TABLESPACE": "TABLESPACE",
    "OBJECT_SUBSCRIPTION": "SUBSCRIPTION",
    "OBJECT_PARAMETER_ACL": "PARAMETER",
}
_SUBSCRIPTION = "SUBSCRIPTION"


def describe_shared_change(sql: str) -> str | None:
    """Return the command words of the first statement that changes a shared object, else ``None``."""
    try:
        return next(filter(None, map(_describe_change, parse(sql))), None)
    except ParseError:
        return None


def _describe_change(parsed: RawStatement) -> str | None:
    if parsed.kind in _SHARED_STATEMENTS:
        return _SHARED_STATEMENTS[parsed.kind]
    if parsed.kind not in _OBJECT_STATEMENTS:
        return None
    field, words = _OBJECT_STATEMENTS[parsed.kind]
    stmt = getattr(parsed.node, parsed.kind)
    numbers = stmt.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    named = _SHARED_OBJECTS.get(numbers[getattr(stmt, field)].name)
    return words.format(named) if named else None


def refuse_shared(works: Iterable[PreparedMigration], *, outward_only: bool = False) -> None:
    """Refuse migrations whose files do what a copy of the database does not isolate.

    Args:
        works: The migrations.
        outward_only: Refuse only statements that reach another server or files. On an embedded server the
            others do no harm.

    Raises:
        MigrationFault: One statement does.
        MigrationFaults: Several statements do.
    """
    faults = [
        _locate_fault(fault, work, statement.line)
        for work in works
        for statement in (work.script.statements if work.script else ())
        if (fault := _find_fault(statement.kind, statement.sql, outward_only=outward_only))
    ]
    if len(faults) > 1:
        raise MigrationFaults(faults)
    if faults:
        raise faults[0]


def refuse_call(work: PreparedMigration, sql: str, line: int | None, *, outward_only: bool = False) -> None:
    """Refuse one statement of a Python migration, before it is sent.

    Raises:
        MigrationFault: It does what a copy does not isolate.
    """
    if fault := _find_fault(None, sql, outward_only=outward_only):
        raise _locate_fault(fault, work, line)


def _locate_fault(fault: MigrationFault, work: PreparedMigration, line: int | None) -> MigrationFault:
    fault.file, fault.line = work.file, line
    return fault


def _find_fault(kind: str | None, sql: str, *, outward_only: bool) -> MigrationFault | None:
    """Return the fault of a statement; its ``kind`` saves parsing it."""
    if kind is None or kind in _SHARED_STATEMENTS or kind in _OBJECT_STATEMENTS:
        words = describe_shared_change(sql)
        if words and (_SUBSCRIPTION in words or not outward_only):
            return _build_fault(words)
    effect = find_outward(sql)
    # dblink is disabled in a copy, see `disable_outbound`: it fails there, and does not reach anything.
    if effect is None or effect.words.startswith("dblink"):
        return None
    return build_outward_fault(effect) if effect.scope in list_refused_scopes(outward_only) else None


def list_refused_scopes(outward_only: bool) -> tuple[str, ...]:
    """Return the scopes of effects that a copy does not isolate."""
    return ("files", "network") if outward_only else ("server", "files", "network")


def build_outward_fault(effect: OutwardEffect, function: str = "") -> MigrationFault:
    """Return the fault of a statement that reaches outside of a copy."""
    elsewhere = "" if effect.scope == "server" else ", also from a copy"
    return MigrationFault(
        f"{describe_effect(effect, function)}{elsewhere}: a copy of the database does not isolate that",
        hint="rehearse on an embedded server: --in embedded"
        if effect.scope == "server"
        else "move it into a separate migration, and rehearse the migrations before it with --to",
    )


def _build_fault(words: str) -> MigrationFault:
    if _SUBSCRIPTION in words:
        return MigrationFault(
            f"{words} reaches another server: it cannot be rehearsed in a copy",
            hint="move it into a separate migration, and rehearse the migrations before it with --to",
        )
    return MigrationFault(
        f"{words} changes the whole server, not only this database: a clone does not isolate it",
        hint="rehearse with --in transaction or --in embedded, or move it into a separate migration",
    )


# Each row: catalog, name of the object, hash of the other columns. datfrozenxid and datminmxid are left out,
# because VACUUM changes them at any time.
_CATALOGS = """
    SELECT 'pg_auth_members', format('%s in %s', member::regrole, roleid::regrole),
        md5(string_agg(to_jsonb(m)::text, '' ORDER BY to_jsonb(m)::text))
    FROM pg_auth_members m GROUP BY 1, 2
    UNION ALL SELECT 'pg_tablespace', spcname, md5(to_jsonb(t)::text) FROM pg_tablespace t
    UNION ALL SELECT 'pg_database', datname,
        md5((to_jsonb(d) - ARRAY['datfrozenxid', 'datminmxid', 'datcollversion'])::text)
        FROM pg_database d WHERE {others}
    UNION ALL SELECT 'pg_db_role_setting', format('%s of %s', coalesce(d.datname, 'all databases'),
            CASE setrole WHEN 0 THEN 'all roles' ELSE setrole::regrole::text END), md5(setconfig::text)
        FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = setdatabase
        WHERE setdatabase = 0 OR ({others})
    UNION ALL SELECT 'pg_shdescription', format('%s %s', s.classoid::regclass, s.objoid), md5(description)
        FROM pg_shdescription s LEFT JOIN pg_database d ON s.classoid = 'pg_database'::regclass
            AND d.oid = s.objoid WHERE d.oid IS NULL OR ({others})
    UNION ALL SELECT 'pg_shseclabel', format('%s %s', classoid::regclass, objoid), md5(provider || label)
        FROM pg_shseclabel
    UNION ALL SELECT 'pg_subscription', subname, md5(format('%s %s %s', subdbid, subowner, subenabled))
        FROM pg_subscription
    UNION ALL SELECT 'pg_replication_origin', roname, '' FROM pg_replication_origin
    UNION ALL SELECT 'pg_replication_slots', slot_name, coalesce(plugin, '') FROM pg_replication_slots
        LEFT JOIN pg_database d ON d.datname = database WHERE NOT temporary AND (d.oid IS NULL OR ({others}))
"""
_ROLES = "SELECT '{0}', rolname, md5(to_jsonb(r)::text) FROM {0} r UNION ALL "
_PARAMETERS = " UNION ALL SELECT 'pg_parameter_acl', parname, md5(paracl::text) FROM pg_parameter_acl"
_ALTER_SYSTEM = (
    " UNION ALL SELECT 'ALTER SYSTEM', name, md5(coalesce(setting, '')) FROM pg_file_settings"
    " WHERE sourcefile LIKE '%postgresql.auto.conf'"
)


@define
class SharedCatalogs:
    """Finds changes of the shared catalogs.

    Attributes:
        observer_conn: Another connection, which sees only committed changes.
        query: The query that reads the catalogs, as far as the role may.
        before: The rows before the rehearsal.
    """

    observer_conn: Connection[Any]
    query: str
    before: frozenset[tuple[str, ...]]

    @classmethod
    def watch(cls, observer: Connection[Any], clones: str) -> SharedCatalogs:
        """Read the catalogs before the rehearsal; leave out what ``clones`` finds in ``pg_database d``."""
        # Other rehearsals may create and drop clones at the same time.
        query = _build_query(observer, f"NOT ({clones})")
        return cls(observer, query, _read_catalogs(observer, query))

    def find_changes(self) -> tuple[str, ...]:
        """Return the changes that any session has committed since ``watch``."""
        return _describe_difference(self.before ^ _read_catalogs(self.observer_conn, self.query))

    def find_uncommitted_changes(self, conn: Connection[Any]) -> tuple[str, ...]:
        """Return the changes that the open transaction of ``conn`` has made."""
        difference: frozenset[tuple[str, ...]] = frozenset()
        for _ in range(3):
            # Another session may commit between the two reads. The next round sees its change in both.
            difference = _read_catalogs(conn, self.query) ^ _read_catalogs(self.observer_conn, self.query)
            if not difference:
                break
        return _describe_difference(difference)


def _build_query(conn: Connection[Any], others: str) -> str:
    ((reads_passwords, reads_files),) = fetch_rows(
        conn,
        "SELECT has_table_privilege('pg_authid', 'SELECT'), has_table_privilege('pg_file_settings', 'SELECT')"
        " AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')",
    )
    query = _ROLES.format("pg_authid" if reads_passwords else "pg_roles") + _CATALOGS.format(others=others)
    if conn.info.server_version >= 150000:
        query += _PARAMETERS
    return query + _ALTER_SYSTEM if reads_files else query


def _read_catalogs(conn: Connection[Any], query: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(map(str, row)) for row in fetch_rows(conn, query))


def _describe_difference(difference: frozenset[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({f"{catalog}: {name}" for catalog, name, *_ in difference}))


@define
class IsolatedSession(Session):
    """A session in a copy of the database, which commits no change of a shared object.

    Attributes:
        shared_catalogs: Compared before each commit; ``None`` if the copy shares nothing.
    """

    shared_catalogs: SharedCatalogs | None = None

    def transaction(self, *, keep: bool = True, before_commit: Any = None, after_commit: Any = None) -> Any:
        """Begin and end a transaction; refuse to commit changes of shared objects."""

        def check_shared_catalogs() -> None:
            if self.shared_catalogs and (changed := self.shared_catalogs.find_uncommitted_changes(self.conn)):
                raise build_shared_change_fault(changed)
            if before_commit:
                before_commit()

        return super().transaction(keep=keep, before_commit=check_shared_catalogs, after_commit=after_commit)


def build_shared_change_fault(changed: tuple[str, ...]) -> MigrationFault:
    """Return the fault of code that has changed a shared object and was not committed."""
    return MigrationFault(
        f"it changes the whole server, not only this database, and was rolled back: {'; '.join(changed[:5])}",
        hint="a clone does not isolate that: rehearse with --in transaction or --in embedded",
    )
