"""Find out which commit of the migrations is checked out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# If an image has the files without the repository, the job that built or runs it knows the commit.
_VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA")
_PATIENCE_S = 5.0


def read_git_revision(folder: Path) -> str | None:
    """Return the commit of the repository that ``folder`` is in; ``None`` if there is none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return _read_variable()
    return done.stdout.strip() if done.returncode == 0 else _read_variable()


def _read_variable() -> str | None:
    return next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), None)
