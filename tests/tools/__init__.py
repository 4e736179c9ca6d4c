"""Other migration tools, installed for real: the tests compare confiture with what they do.

``make .venv/.tools`` installs those from the npm registry; yoyo, alembic and Django come with the ``dev`` extra;
sqitch is a package of Debian's, and Liquibase needs a Java.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

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
