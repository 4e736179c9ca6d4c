"""Run a script with the Python of the user's project, to ask the tool that is installed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from confiture.config.urls import mask_password
from confiture.exceptions import UsageFault

_LAST_LINES = 3


def find_python(module: str, folder: Path) -> Path:
    """Return a Python that has a module: ours, that of the project's environment, or that of its command.

    Raises:
        UsageFault: None of them has it.
    """
    if find_spec(module) is not None:
        return Path(sys.executable)
    for python in _list_pythons(module, folder):
        if python.is_file() and _has_module(python, module):
            return python
    raise UsageFault(
        f"no Python with {module} was found",
        hint=f"activate the environment of the project, or install confiture into it beside {module}",
    )


def ask_python(module: str, script: Path, request: Mapping[str, Any], folder: Path) -> Any:
    """Run a script in ``folder`` and return its answer.

    The script reads the request from its standard input, as JSON, and writes the answer, as JSON, to the file
    that its only argument names: what it prints is that of the user's code.

    Raises:
        UsageFault: There is no Python with the module, or the script gave no answer.
    """
    with TemporaryDirectory(prefix="confiture-") as temporary:
        answer = Path(temporary) / "answer.json"
        process = subprocess.run(
            # The text and not the file, because Python would import this folder's modules before others.
            [find_python(module, folder), "-c", script.read_text(encoding="utf-8"), answer],
            input=json.dumps(request),
            cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.is_file():
            return json.loads(answer.read_text(encoding="utf-8"))
    lines = process.stderr.strip().splitlines()[-_LAST_LINES:]
    raise UsageFault(
        f"{module} gave no answer: " + (mask_password(" ".join(lines)) or f"exit code {process.returncode}"),
        hint=f"call {module} by hand in {folder}, and solve what it says",
    )


def _list_pythons(module: str, folder: Path) -> Iterator[Path]:
    if active := os.environ.get("VIRTUAL_ENV"):
        yield Path(active) / "bin" / "python"
    for name in (".venv", "venv"):
        yield folder / name / "bin" / "python"
    # A command is beside its Python, if it is no link to it.
    for name in (module, "python3", "python"):
        if found := shutil.which(name):
            yield Path(found) if name.startswith("python") else Path(found).resolve().parent / "python"


def _has_module(python: Path, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
