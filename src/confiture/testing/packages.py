"""Fixtures: packages with plugins, written as if installed, or really built and installed by pip."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from attrs import define, field

from confiture.exceptions import PluginFault

_PYPROJECT_TEMPLATE = """\
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


class FakeDistribution(Protocol):
    """Writes a package as pip would have left it, and returns its folder."""

    def __call__(
        self,
        name: str,
        source: str,
        *,
        version: str = "1.0",
        entry: str | None = None,
        distribution: str | None = None,
        folder: Path | None = None,
    ) -> Path:
        """Write the plugin ``name``, whose module holds ``source`` and is called like it."""


@pytest.fixture
def confiture_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to install packages into; modules imported from it are unloaded afterwards."""
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
def confiture_fake_distribution(confiture_site: Path) -> FakeDistribution:
    """Write a package as pip would have left it, in no time; return its folder, which is on ``sys.path``.

    Its module is called like the plugin, with underscores; ``entry`` names another object in it,
    ``distribution`` another package than ``NAME-package``.
    """

    def write(
        name: str,
        source: str,
        *,
        version: str = "1.0",
        entry: str | None = None,
        distribution: str | None = None,
        folder: Path | None = None,
    ) -> Path:
        site, module = folder or confiture_site, name.replace("-", "_")
        distribution = distribution or f"{name}-package"
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[confiture]\n{name} = {entry or module}\n")
        (info / "RECORD").write_text(f"{module}.py,,\n{info.name}/METADATA,,\n")
        importlib.invalidate_caches()
        return site

    return write


@define
class PackageInstaller:
    """Builds and installs packages, each once and in a separate folder.

    Attributes:
        folders: Creates the build and install folders.
        installed: The install folder by a hash of the package's content.
    """

    folders: pytest.TempPathFactory
    installed: dict[str, Path] = field(factory=dict)

    def __call__(self, name: str, source: str, *, version: str = "1.0", entry: str | None = None) -> Path:
        """Install the plugin ``name`` with this source; return the folder to put on ``PYTHONPATH``."""
        module = name.replace("-", "_")
        pyproject = _PYPROJECT_TEMPLATE.format(
            name=name, distribution=f"{name}-package", version=version, entry=entry or module, module=module
        )
        key = hashlib.sha256(f"{pyproject}\0{source}".encode()).hexdigest()
        if key not in self.installed:
            project = self.folders.mktemp(f"{name}-project")
            (project / "pyproject.toml").write_text(pyproject, encoding="utf-8")
            (project / f"{module}.py").write_text(source, encoding="utf-8")
            self.installed[key] = self.project(project)
        return self.installed[key]

    def project(self, project: Path) -> Path:
        """Install the package in the folder ``project``; return the folder for ``PYTHONPATH``.

        Raises:
            PluginFault: pip cannot build it; its own words are in the message.
        """
        target = self.folders.mktemp(f"{project.name}-installed")
        flags = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
        command = (sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(project))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PluginFault(
                f"the package in {project} cannot be installed:\n{done.stderr.strip()}",
                hint="pip builds it without network: install its build backend first, for example hatchling",
            )
        return target


@pytest.fixture(scope="session")
def confiture_install_plugin(tmp_path_factory: pytest.TempPathFactory) -> PackageInstaller:
    """Build a package from ``source`` and install it; return the folder to put on ``PYTHONPATH``.

    Its module is called like the plugin, with underscores. ``.project(folder)`` installs one that is
    written already.
    """
    return PackageInstaller(tmp_path_factory)
