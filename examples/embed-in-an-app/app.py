"""A small web application that does not start on a schema it was not written for.

    python app.py              refuses to start while a migration is pending
    python app.py --migrate    applies what is pending first

``DATABASE_URL`` names the database. Nothing but confiture and the standard library.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import psycopg

from confiture.config.settings import Settings, load_settings
from confiture.core import read_status, run
from confiture.exceptions import ConfitureError

HERE = Path(__file__).parent
Respond = Callable[[str, list[tuple[str, str]]], object]


class NotReady(Exception):
    """The database is not as this version of the application needs it."""


def require_current(settings: Settings) -> None:
    """Look at the ledger: read rights are enough, no lock is taken, nothing is written.

    Raises:
        NotReady: A migration is pending, changed, missing or unfinished.
    """
    behind = [status for status in read_status(settings) if status.state != "applied"]
    if behind:
        named = ", ".join(f"{status.version} {status.name} is {status.state}" for status in behind)
        raise NotReady(f"the schema is not current: {named}; start with --migrate, or: confiture run")


def migrate(settings: Settings) -> None:
    """Apply what is pending. Of several instances that start at once one does it, the others wait.

    Raises:
        NotReady: A migration failed, and was rolled back.
    """
    report = run(settings)
    for migration in report.migrations:
        print(f"{migration.version} {migration.name}: {migration.outcome}", file=sys.stderr)
        if migration.error:
            raise NotReady(
                f"migration {migration.version} {migration.name} failed: {migration.error.message}"
            )


def application(settings: Settings) -> Callable[[dict[str, Any], Respond], Iterable[bytes]]:
    """Return the WSGI application: one page, the jams there are."""

    def respond(environ: dict[str, Any], start_response: Respond) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/jams":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are only /jams\n"]
        with psycopg.connect(settings.url or "") as conn:
            jams = conn.execute("SELECT fruit, jars FROM jams ORDER BY fruit").fetchall()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([{"fruit": fruit, "jars": jars} for fruit, jars in jams]).encode()]

    return respond


class Quiet(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main() -> int:
    """Check the schema, then serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--migrate", action="store_true", help="apply pending migrations before the start")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    flags = parser.parse_args()
    try:
        settings = load_settings(cwd=HERE)
        if flags.migrate:
            migrate(settings)
        require_current(settings)
    except (NotReady, ConfitureError) as fault:
        print(f"not started: {fault}", file=sys.stderr)
        return 1
    with make_server("127.0.0.1", flags.port, application(settings), handler_class=Quiet) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
