"""Ask git which files changed since a commit; it is an error if git cannot say."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from confiture.exceptions import UsageFault

_FETCH_HINT = "fetch the whole history: git fetch --unshallow, or fetch-depth: 0 of actions/checkout"


def list_changed_files(since: str, places: Sequence[Path]) -> frozenset[Path]:
    """Return the files in ``places`` that changed since HEAD's branch left ``since``, as absolute paths.

    Uncommitted and untracked files count as changed.

    Raises:
        UsageFault: git cannot determine the changed files.
    """
    folder = _find_folder(places[0])
    # Outside of a repository this fails with git's own message; _resolve_commit would blame the commit.
    _run_git(folder, since, "rev-parse", "--show-toplevel")
    commit = _resolve_commit(folder, since)
    base = _find_merge_base(folder, since, commit)
    names = [str(place.absolute()) for place in places]
    # These override the user's git configuration: a renamed file counts as changed, paths are relative to the
    # top folder, and -z leaves names with special characters unquoted.
    options = ("--no-renames", "--no-relative", "--diff-filter=d", "-z")
    tracked = _run_git(folder, since, "diff", "--name-only", *options, base, "--", *names)
    top = Path(_run_git(folder, since, "rev-parse", "--show-toplevel").removesuffix("\n"))
    new = _run_git(folder, since, "ls-files", "--others", "--full-name", "-z", "--", *names)
    return frozenset((top / name).resolve() for name in (tracked + new).split("\0") if name)


def list_base_files(since: str, places: Sequence[Path]) -> frozenset[Path]:
    """Return the files in ``places`` that exist where HEAD's branch left ``since``, as absolute paths.

    Raises:
        UsageFault: git cannot determine them.
    """
    folder = _find_folder(places[0])
    base = _find_merge_base(folder, since, _resolve_commit(folder, since))
    names = [str(place.absolute()) for place in places]
    top = Path(_run_git(folder, since, "rev-parse", "--show-toplevel").removesuffix("\n"))
    listed = _run_git(folder, since, "ls-tree", "-r", "-z", "--name-only", "--full-name", base, "--", *names)
    return frozenset((top / name).resolve() for name in listed.split("\0") if name)


def _find_folder(place: Path) -> Path:
    return place if place.is_dir() else place.parent


def _resolve_commit(folder: Path, since: str) -> str:
    # A name that begins with a dash would be an option of git.
    if since.startswith("-") or not since.strip() or "\0" in since:
        raise UsageFault(f"--since {since!r} is not the name of a commit", hint="--since origin/main")
    try:
        return _run_git(folder, since, "rev-parse", "--quiet", "--verify", f"{since}^{{commit}}").strip()
    except UsageFault:
        hint = (
            _FETCH_HINT if _is_shallow(folder, since) else f"git fetch origin {since.removeprefix('origin/')}"
        )
        raise UsageFault(f"--since {since}: git knows no such commit", hint=hint) from None


def _find_merge_base(folder: Path, since: str, commit: str) -> str:
    try:
        return _run_git(folder, since, "merge-base", commit, "HEAD").strip()
    except UsageFault as fault:
        if _is_shallow(folder, since):
            why = f"--since {since}: this clone is shallow and has no common ancestor of {since} and HEAD"
            raise UsageFault(why, hint=_FETCH_HINT) from None
        raise UsageFault(
            f"--since {since}: HEAD and {since} have no common ancestor", hint=fault.hint
        ) from None


def _is_shallow(folder: Path, since: str) -> bool:
    return _run_git(folder, since, "rev-parse", "--is-shallow-repository").strip() == "true"


def _run_git(folder: Path, since: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise UsageFault(f"--since {since}: git cannot be run: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageFault(
            f"--since {since}: git {arguments[0]} failed: {lines[0] if lines else f'code {done.returncode}'}",
            hint="solve the problem with git, or leave out --since to check all migrations",
        )
    return done.stdout.decode("utf-8", "surrogateescape")
