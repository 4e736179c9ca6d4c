"""Find a sqitch project's plan and scripts, which ``sqitch.conf`` may move."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from confiture.exceptions import SourceFault
from confiture.migrations.folder import read_file
from confiture.sources.sqitch_plan import PlanChange

_CONF, _PLAN = "sqitch.conf", "sqitch.plan"
_SECTION = re.compile(r'\s*\[\s*(?P<name>[\w-]+)(?:\s+"(?P<sub>[^"]*)")?\s*\]\s*')
_VALUE = re.compile(r'\s*(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^#;]*?))\s*(?:[#;].*)?')


@frozen
class SqitchLayout:
    """Where a project keeps its files.

    Attributes:
        plan: The plan.
        folders: The folder of each kind of script, by ``deploy``, ``reworked_deploy`` and so on.
        extension: What the names of scripts end in, without the dot.
        engine: The engine of the configuration; empty if it names none.
    """

    plan: Path
    folders: Mapping[str, Path]
    extension: str = "sql"
    engine: str = ""

    def find_script(self, kind: str, change: PlanChange) -> Path:
        """Return the path of a script of a change, which need not exist."""
        if not change.rework_tags:
            return self.folders[kind] / f"{change.name}.{self.extension}"
        names = [f"{change.name}@{tag}.{self.extension}" for tag in change.rework_tags]
        # All scripts of a change have the tag that its deploy script has.
        deploy = self.folders["reworked_deploy"]
        name = next((name for name in names if (deploy / name).exists()), names[0])
        return self.folders[f"reworked_{kind}"] / name


def find_layout(folder: Path) -> SqitchLayout:
    """Return the layout of the project in a folder: the one with ``sqitch.conf``, or its ``top_dir``.

    Raises:
        SourceFault: There is no plan.
    """
    for base in (folder, folder.parent):
        layout = _read_layout(base)
        if layout.plan.is_file() and (base == folder or layout.plan.parent == folder):
            return layout
    plain = _build_layout(folder, {})
    if plain.plan.is_file():
        return plain
    raise SourceFault(
        f"there is no {_PLAN} in {folder}",
        hint=f"name the folder with {_CONF}: confiture adopt --from sqitch --migrations .",
    )


def _read_layout(base: Path) -> SqitchLayout:
    conf = base / _CONF
    return _build_layout(base, _read_conf(read_file(conf)) if conf.is_file() else {})


def _read_conf(text: str) -> dict[str, str]:
    """Return the values by ``section.key`` or ``section.subsection.key``."""
    values: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section = found["name"] + (f".{found['sub']}" if found["sub"] else "")
        elif found := _VALUE.fullmatch(line):
            bare = found["bare"]
            values[f"{section}.{found['key']}"] = found["quoted"] if bare is None else bare
    return values


def _build_layout(base: Path, values: Mapping[str, str]) -> SqitchLayout:
    def fetch(key: str) -> str | None:
        return values.get(f"engine.pg.{key}") or values.get(f"core.{key}")

    def choose(key: str, usual: Path) -> Path:
        named = fetch(key)
        return base / named if named else usual

    top = choose("top_dir", base)
    reworked = choose("reworked_dir", top)
    folders = {}
    for kind in ("deploy", "revert", "verify"):
        folders[kind] = choose(f"{kind}_dir", top / kind)
        folders[f"reworked_{kind}"] = choose(f"reworked_{kind}_dir", reworked / kind)
    engine = values.get("core.engine", "")
    return SqitchLayout(choose("plan_file", top / _PLAN), folders, fetch("extension") or "sql", engine)
