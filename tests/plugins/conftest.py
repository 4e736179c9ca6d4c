"""Plugins for tests: real packages that pip builds and installs, and quick ones written as installed."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confiture.plugins.finding import Found, find
from confiture.plugins.loading import Loaded, load

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "{version}"

[project.entry-points.confiture]
{name} = "{entry}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""


@pytest.fixture(scope="session")
def install_plugin(tmp_path_factory) -> Callable[..., Path]:
    """Build a package from ``source`` and install it; return the folder to put on ``PYTHONPATH``.

    Its module is called like the plugin, with underscores.
    """
    installed: dict[str, Path] = {}

    def install(name: str, source: str, *, version: str = "1.0", entry: str | None = None) -> Path:
        module = name.replace("-", "_")
        pyproject = PYPROJECT.format(
            name=name, distribution=f"{name}-package", version=version, entry=entry or module, module=module
        )
        key = hashlib.sha256(f"{pyproject}\0{source}".encode()).hexdigest()
        if key not in installed:
            project = tmp_path_factory.mktemp(f"{name}-project")
            (project / "pyproject.toml").write_text(pyproject)
            (project / f"{module}.py").write_text(source)
            installed[key] = _pip_install(project, tmp_path_factory.mktemp(f"{name}-installed"))
        return installed[key]

    return install


def _pip_install(project: Path, target: Path) -> Path:
    flags = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = (sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(project))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty folder that packages can be installed into; what is imported from it is forgotten again."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    monkeypatch.undo()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def fake_distribution(site) -> Callable[..., Path]:
    """Write a package as pip would have left it, in no time; return its folder, which is on ``sys.path``."""

    def write(
        name: str,
        source: str,
        *,
        version: str = "1.0",
        entry: str | None = None,
        distribution: str | None = None,
        folder: Path = site,
    ) -> Path:
        module = name.replace("-", "_")
        distribution = distribution or f"{name}-package"
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[confiture]\n{name} = {entry or module}\n")
        (info / "RECORD").write_text(f"{module}.py,,\n{info.name}/METADATA,,\n")
        importlib.invalidate_caches()
        return folder

    return write


@pytest.fixture
def found_in(site) -> Callable[[], tuple[Found, ...]]:
    """Return what was found in the test's own folder; the environment may have plugins of its own."""

    def only_ours() -> tuple[Found, ...]:
        return tuple(each for each in find() if each.entry_point and _lies_in(each, site.parent))

    return only_ours


def _lies_in(found: Found, folder: Path) -> bool:
    distribution = getattr(found.entry_point, "dist", None)
    return distribution is not None and str(distribution.locate_file("")).startswith(str(folder))


@pytest.fixture
def loaded(fake_distribution, found_in) -> Callable[..., Loaded]:
    """Install a plugin from its source and load it."""

    def load_source(source: str, *, name: str = "jam", entry: str | None = None) -> Loaded:
        fake_distribution(name, source, entry=entry)
        return load(next(each for each in found_in() if each.name == name))

    return load_source
