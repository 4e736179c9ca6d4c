"""What a newcomer types in, taken from docs/writing-plugins.md, where nothing of ours is installed."""

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

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-plugins.md"


def commands() -> list[str]:
    """Return every line that the page says to type in, in order."""
    return re.findall(r"^\$ (.+)$", PAGE.read_text(encoding="utf-8"), re.M)


@pytest.fixture
def empty() -> Iterator[Path]:
    """An empty folder next to a checkout, which the server's user can enter; not so pytest's own, for root."""
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    folder.chmod(0o755)
    (folder / "confiture").symlink_to(ROOT)
    (folder / "empty").mkdir()
    yield folder / "empty"
    for note in folder.rglob("embedded.json"):
        home = Path(json.loads(note.read_text())["data"]).parent
        if home.parent == STATE_FOLDER:
            shutil.rmtree(home)
    shutil.rmtree(folder)


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """What confiture depends on, without confiture and its plugins: a package index that needs no network."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    for kind in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(kind).iterdir():
            if not re.search(r"confiture|\.pth$|^__editable__", path.name):
                (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def environment(tmp_path, libraries) -> dict[str, str]:
    """The shell of somebody who has Python, without network."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    # The one that pip would have written beside the libraries.
    (programs / "pytest").write_text('#!/bin/sh\nexec python -m pytest "$@"\n')
    (programs / "pytest").chmod(0o755)
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(libraries),
        # By their own name: through the links they would be copied once more for the server's user.
        "CONFITURE_PG_BINDIR": str(find_binaries()),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def typed(lines: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Type the lines into one shell that stops at the first failure; return all that it printed."""
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(lines),
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_from_an_empty_folder_to_ones_own_hook_with_the_docs_alone(empty, environment):
    # The addopts of those who named the kit before pytest found it by itself: it is loaded once, not twice.
    named = ["cd confiture-hello", "pytest -p confiture.testing"]

    said = typed([*commands(), *named], empty, environment)

    assert said.count("2 passed") == 2
    assert re.search(r"hello\s+0\.1\.0", said)
    assert re.search(r"applied +0001 +jam", said)
    assert re.search(r"after_ddl +hello +MeasureChanged .*kept +relations=1, size_bytes=\d{4,}", said)


def test_the_page_shows_the_hook_that_is_written():
    shown = PAGE.read_text(encoding="utf-8")
    written = (ROOT / "examples/first-plugin/src/confiture_hello/__init__.py").read_text(encoding="utf-8")

    hook = written[written.index("@hookimpl") :]

    assert f"```python\n{hook}```" in shown
