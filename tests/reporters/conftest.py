"""A machine of a CI service that has Python and our package, and needs no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from confiture.server import find_binaries
from confiture.server.data_dir import STATE_FOLDER
from tests.reporters.pipelines import EXAMPLE, ROOT


@pytest.fixture(scope="session")
def machine(tmp_path_factory) -> dict[str, str]:
    """The environment of its shell: pip installs what is on this disk, and nothing else."""
    folder = tmp_path_factory.mktemp("machine")
    libraries, programs = folder / "libraries", folder / "bin"
    libraries.mkdir()
    programs.mkdir()
    for place in [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path]:
        # What confiture depends on, without confiture itself and its plugins.
        if place.endswith("site-packages") and Path(place).is_dir():
            for path in Path(place).iterdir():
                link = libraries / path.name
                if not re.search(r"confiture|\.pth$|^__editable__", path.name) and not link.exists():
                    link.symlink_to(path)
    for name in ("python", "python3"):
        (programs / name).symlink_to(sys.executable)
    wheels = folder / "wheels"
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(libraries),
        "CONFITURE_PG_BINDIR": str(find_binaries()),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@localhost",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@localhost",
    }
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(command, check=True, env=environment)
    return environment


@pytest.fixture
def repository() -> Iterator[Path]:
    """A checkout of the example, where the server's user can enter, which pytest's own folder is not for root."""
    made = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip()
    folder = Path(made)
    folder.chmod(0o755)
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    yield folder
    for note in folder.rglob("embedded.json"):
        home = Path(json.loads(note.read_text())["data"]).parent
        if home.parent == STATE_FOLDER:
            shutil.rmtree(home)
    shutil.rmtree(folder)
