"""Fixtures: a server a session, a fresh database a test, copied from a template.

Not pytest-postgresql's fixtures: ``postgresql_noproc`` wants host and port before the first test is
collected, and ours come from a server that is started when the first test asks for it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from confiture.exceptions import ServerFault
from confiture.testing.servers import TEST_URL_VARIABLE, AnyServer, open_test_server

if TYPE_CHECKING:
    from psycopg import Connection

_URL_HINT = (
    f"set {TEST_URL_VARIABLE} to a server and a role that may create databases; "
    "without it, confiture starts a server"
)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def confiture_server() -> Iterator[AnyServer]:
    """The server of this session: ``CONFITURE_TEST_URL``'s, else one of our own without fsync."""
    try:
        with open_test_server() as server:
            yield server
    except ServerFault as fault:
        pytest.fail(f"cannot start or find a test server: {fault}\n{fault.hint}\n{_URL_HINT}", pytrace=False)


@pytest.fixture(scope="session")
def confiture_schema() -> str:
    """The SQL that every test's database begins with: none. Define it anew to have some."""
    return ""


@pytest.fixture(scope="session")
def _confiture_templates(confiture_server: AnyServer) -> Iterator[TemplateDatabases]:
    """The databases that those of the tests are copied from."""
    with _connect_to_maintenance(confiture_server) as conn:
        templates = TemplateDatabases(confiture_server, conn)
        yield templates
        for name in templates.template_names.values():
            templates.drop(name)


def _connect_to_maintenance(server: AnyServer) -> Connection[Any]:
    import psycopg

    try:
        return psycopg.connect(server.conninfo("postgres"), autocommit=True)
    except psycopg.Error as error:
        # A test that cannot begin is no test that failed: no traceback of ours, and the next step.
        pytest.fail(f"cannot use the test server: {error}\n{_URL_HINT}", pytrace=False)


@pytest.fixture
def confiture_database_url(
    confiture_server: AnyServer, _confiture_templates: TemplateDatabases, confiture_schema: str
) -> Iterator[str]:
    """The URL of a database of this test alone, dropped afterwards whoever is still connected."""
    name = _confiture_templates.copy(_confiture_templates.get_template(confiture_schema))
    yield confiture_server.conninfo(name)
    _confiture_templates.drop(name)


@pytest.fixture
def confiture_database(confiture_database_url: str) -> Iterator[Connection[Any]]:
    """A connection to the test's database, in autocommit."""
    import psycopg

    with psycopg.connect(confiture_database_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def confiture_second(confiture_database_url: str) -> Iterator[Connection[Any]]:
    """Another session on the same database, in autocommit."""
    import psycopg

    with psycopg.connect(confiture_database_url, autocommit=True) as conn:
        yield conn


@define
class TemplateDatabases:
    """Databases made once and copied for each test.

    Attributes:
        server: Where they are.
        conn: To its maintenance database: nobody may be connected to a template that is copied.
        template_names: The templates by the SQL that made them.
    """

    server: AnyServer
    conn: Connection[Any]
    template_names: dict[str, str] = field(factory=dict)

    def get_template(self, schema: str) -> str:
        """Return the template that ``schema`` has been run in."""
        if not schema.strip():
            return "template0"
        if schema not in self.template_names:
            self.template_names[schema] = self._create_template(schema)
        return self.template_names[schema]

    def copy(self, template: str) -> str:
        """Copy ``template`` and return the new database's name."""
        from psycopg import sql

        name = f"test_{os.getpid()}_{next(_numbers)}"
        # Copying the few files is four times faster here than writing them through the log.
        how = " STRATEGY file_copy" if self.conn.info.server_version >= 150000 else ""
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {}" + how)
        self.conn.execute(command.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        from psycopg import sql

        self.conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _create_template(self, schema: str) -> str:
        import psycopg

        name = self.copy("template0")
        try:
            with psycopg.connect(self.server.conninfo(name)) as conn:
                conn.execute(schema.encode())
        except psycopg.Error:
            self.drop(name)
            raise
        return name
