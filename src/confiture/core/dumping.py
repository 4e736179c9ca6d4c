"""Write the schema as SQL by ``pg_dump``: the same bytes for the same schema, so that it can be reviewed.

What differs from server to server and is not the schema is left out: owners, privileges, tablespaces,
minor versions, and whatever may hold a password (subscriptions, user mappings).
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from confiture.config import Settings
from confiture.core.connecting import connected, server_version
from confiture.core.pg_dump import Program, program_for
from confiture.core.session import identifier, rows
from confiture.exceptions import ConfigurationFault, RightsFault, UsageFault
from confiture.models.ledger import Dump

DEFAULT_FILE = "schema.sql"
STDOUT = "-"
_OPTIONS = (
    "--schema-only",
    "--no-owner",
    "--no-privileges",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-subscriptions",
    "--encoding=UTF8",
    "--no-password",
)
_OTHER_SECRETS = ("sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")


@frozen
class Schema:
    """A schema as text, and what wrote it."""

    text: str
    server_version: str
    pg_dump_version: str


def read_schema(settings: Settings) -> Schema:
    """Return the schema of the database, without confiture's own.

    Raises:
        DumpFault: There is no ``pg_dump`` that can read this server.
        RightsFault: The role may not read the schema.
    """
    with connected(settings, direct=True) as conn:
        program = program_for(conn.info.server_version // 10000)
        version = server_version(conn)
        options = _server_options(conn)
        mappings = bool(rows(conn, "SELECT 1 FROM pg_user_mappings LIMIT 1"))
    text = normalised(dumped(settings, program, options), user_mappings=mappings)
    return Schema(_head(version, program) + text, version, program.version)


def write_schema(settings: Settings, file: str | None = None) -> Dump:
    """Write the schema to ``file``; without one to ``schema.sql`` beside the configuration.

    Raises:
        ConfitureError: It cannot be read, or the file cannot be written.
    """
    path = settings.root / DEFAULT_FILE if file is None else Path(file)
    schema = read_schema(settings)
    changed = _before(path) != schema.text
    if changed:
        _write(path, schema.text)
    return Dump(str(path), changed, schema.server_version, schema.pg_dump_version)


def _before(path: Path) -> str | None:
    try:
        return path.read_bytes().decode() if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(text.encode())
            return
        # The file of before stays whole until the new one is.
        target = path.resolve()
        beside = target.with_name(f".{target.name}.new")
        beside.write_bytes(text.encode())
        if target.exists():
            beside.chmod(target.stat().st_mode & 0o7777)
        beside.replace(target)
    except OSError as error:
        raise UsageFault(
            f"the schema cannot be written to {path}: {error.strerror}",
            hint="name another file: confiture dump FILE, or - for stdout",
        ) from None


def _server_options(conn: Connection[Any]) -> str:
    """Return what to set so that the server words everything alike; nothing where it does so already."""
    wanted = {"quote_all_identifiers": "off", "standard_conforming_strings": "on"}
    now = rows(conn, "SELECT " + ", ".join(f"current_setting('{name}')" for name in wanted))[0]
    return " ".join(
        f"-c {name}={value}" for (name, value), has in zip(wanted.items(), now, strict=True) if has != value
    )


def dumped(
    settings: Settings, program: Program, options: str = "", flags: tuple[str, ...] | None = None
) -> str:
    """Return what ``pg_dump`` writes; ``flags`` instead of those of a schema to be reviewed.

    Raises:
        ConfigurationFault: It does not run.
        RightsFault: The role may not read all of the schema.
    """
    conninfo, secrets = _without_secrets(settings.direct_url or settings.url or "")
    environ = {**os.environ, **secrets, "PGTZ": "UTC", "LC_MESSAGES": "C"}
    environ["PGOPTIONS"] = " ".join(filter(None, (environ.get("PGOPTIONS"), options)))
    command = [
        str(program.path),
        *(flags or (*_OPTIONS, f"--exclude-schema={identifier(settings.schema)}")),
        "-d",
        conninfo,
    ]
    try:
        done = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise ConfigurationFault(f"{program.path} does not run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"it ended with {done.returncode}"
        raise RightsFault(
            f"pg_dump could not read the schema: {said}",
            hint="it needs the right to read every table of the schema: connect as their owner",
        )
    return done.stdout.decode()


def _without_secrets(url: str) -> tuple[str, dict[str, str]]:
    """Return a conninfo fit for the process list, and the password as the environment has it."""
    given = conninfo_to_dict(url)
    if others := [name for name in _OTHER_SECRETS if given.get(name)]:
        raise ConfigurationFault(
            f"the URL has {', '.join(others)}, which could only be handed to pg_dump for all to see",
            hint="keep it out of the URL for a dump: in a service file, or a key without a pass phrase",
        )
    password = given.pop("password", None)
    return make_conninfo("", **given), {} if password is None else {"PGPASSWORD": str(password)}


def _head(version: str, program: Program) -> str:
    major = version.partition(".")[0]
    return f"-- The schema of a PostgreSQL {major} database, by pg_dump {program.major}: confiture dump\n\n"


_HEADER = re.compile(r"\A(?:(?:--.*|\\restrict .*)?\n)*")
_FOOTER = re.compile(r"\n*--\n-- PostgreSQL database dump complete\n--\n(?:\s|\\unrestrict .*)*\Z")
# Whether it is there depends on who owns the schema public, not on what is in it.
_PUBLIC = re.compile(
    r"^--\n-- Name: public; Type: SCHEMA; .*\n--\n\n-- \*not\* creating schema, since .*\n\n\n",
    re.M,
)
_USER_MAPPING = re.compile(
    r"^--\n-- Name: USER MAPPING .*; Type: USER MAPPING; .*\n--\n(?s:.*?)(?=^--\n-- Name: |\Z)", re.M
)


def normalised(dumped: str, *, user_mappings: bool = False) -> str:
    """Return what ``pg_dump`` wrote without what differs between two servers of one major version."""
    text = _HEADER.sub("", dumped, count=1)
    text = _FOOTER.sub("\n", text, count=1)
    text = _PUBLIC.sub("", text, count=1)
    if user_mappings:
        text = _USER_MAPPING.sub("", text)
    return text.strip("\n") + "\n"
