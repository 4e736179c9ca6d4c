"""Find an Alembic project, and read the graph of its revisions from the text of their files."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from confiture.exceptions import MigrationFault, SourceFault
from confiture.migrations.folder import hash_text, list_folder, read_file
from confiture.sources.requirements import sort_by_requirements

_LEGACY = re.compile(r"([a-f0-9]+)\.py")
_CREATED = re.compile(r"^Create Date: *(.+)$", re.MULTILINE)
_WORDS = re.compile(r"\w+")
_NAMES = ("revision", "down_revision", "depends_on", "branch_labels")
_SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}


@frozen
class AlembicProject:
    """Where Alembic finds its files.

    Attributes:
        folder: The folder of ``env.py``.
        root: The folder of the configuration, from which Alembic is called.
        ini: ``alembic.ini``; ``None`` if there is none.
        toml: ``pyproject.toml``, if that has Alembic's configuration; else ``None``.
        versions: The folders of the revisions.
        recursive: True if their subfolders have revisions too.
    """

    folder: Path
    root: Path
    ini: Path | None
    toml: Path | None
    versions: tuple[Path, ...]
    recursive: bool = False


@frozen
class Revision:
    """A revision, as its file declares it.

    Attributes:
        id: Its identifier.
        slug: Its message, in the form of a file's name.
        path: Its file.
        text: The text of the file.
        checksum: SHA-256 of the text.
        requires: The revisions before it, and those that it depends on.
        created: When it was created, as the file says; empty if it does not.
        labels: The labels of its branch.
    """

    id: str
    slug: str
    path: Path
    text: str
    checksum: str
    requires: tuple[str, ...]
    created: str
    labels: tuple[str, ...] = ()


def find_project(folder: Path, root: Path) -> AlembicProject:
    """Return the project of a folder with ``env.py``, with the configuration in or above it.

    Raises:
        SourceFault: It is not a folder of Alembic.
    """
    folder = folder.resolve()
    if folder.name == "versions" and (folder.parent / "env.py").is_file():
        folder = folder.parent
    if not (folder / "env.py").is_file():
        list_folder(folder)
        raise SourceFault(
            f"{folder} is not a folder of Alembic: it has no env.py",
            hint="name the folder that script_location in alembic.ini names: --migrations DIR",
        )
    ini, toml = _find_configuration(folder, root.resolve())
    options = _read_options(ini) if ini else _read_toml(toml) if toml else {}
    found = ini or toml
    base = found.parent if found else root.resolve()
    places = tuple(Path(os.path.normpath(base / place)) for place in _split_places(options))
    recursive = options.get("recursive_version_locations", "").lower() in ("true", "1", "yes", "on")
    return AlembicProject(folder, base, ini, toml, places or (folder / "versions",), recursive)


def _find_configuration(folder: Path, root: Path) -> tuple[Path | None, Path | None]:
    if named := os.environ.get("ALEMBIC_CONFIG"):
        return root / named, None
    for place in dict.fromkeys((folder, *folder.parents, root, *root.parents)):
        ini, toml = place / "alembic.ini", place / "pyproject.toml"
        if ini.is_file():
            return ini, None
        if toml.is_file() and "[tool.alembic" in toml.read_text(encoding="utf-8", errors="replace"):
            return None, toml
    return None, None


def _read_options(ini: Path) -> Mapping[str, str]:
    parser = ConfigParser({"here": str(ini.parent)}, interpolation=None)
    try:
        parser.read(ini, encoding="utf-8")
        found = dict(parser["alembic"]) if parser.has_section("alembic") else {}
    except (Error, UnicodeDecodeError) as error:
        message = " ".join(str(error).split())
        raise SourceFault(f"{ini} cannot be read: {message}", hint="correct the file") from None
    return {key: value.replace("%(here)s", str(ini.parent)) for key, value in found.items()}


def _read_toml(toml: Path) -> Mapping[str, str]:
    try:
        table = tomllib.loads(toml.read_text(encoding="utf-8"))["tool"]["alembic"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceFault(f"{toml} cannot be read: {error}", hint="correct the file") from None
    places = [str(place) for place in table.get("version_locations", ())]
    options = {"path_separator": "newline", "version_locations": "\n".join(places)}
    options["recursive_version_locations"] = str(table.get("recursive_version_locations", ""))
    return {key: value.replace("%(here)s", str(toml.parent)) for key, value in options.items()}


def _split_places(options: Mapping[str, str]) -> list[str]:
    separator = options.get("path_separator") or options.get("version_path_separator")
    written = options.get("version_locations", "")
    if separator in _SEPARATORS:
        return [place.strip() for place in written.split(_SEPARATORS[separator]) if place.strip()]
    return re.split(r"[\s,]+", written.strip()) if written.strip() else []


def read_revisions(project: AlembicProject) -> tuple[Revision, ...]:
    """Return the revisions, each after those that it requires.

    Raises:
        SourceFault: The project has no revision.
        MigrationFault: A file declares no revision, one that exists, or one that requires an unknown one.
    """
    paths = [path for place in project.versions for path in _list_files(place, recursive=project.recursive)]
    revisions: dict[str, Revision] = {}
    for path in paths:
        revision = _read_revision(path)
        if revision.id in revisions:
            raise MigrationFault(
                f"revision {revision.id} is used twice: {revisions[revision.id].path.name} and {path.name}",
                hint="give one of them a new revision",
                file=path,
            )
        revisions[revision.id] = revision
    if not revisions:
        places = ", ".join(map(str, project.versions))
        raise SourceFault(
            f"no revisions of Alembic in {places}", hint="write the first one: alembic revision"
        )
    return _sort_revisions(_resolve_all(revisions))


def _list_files(folder: Path, *, recursive: bool) -> list[Path]:
    found = []
    for path in list_folder(folder):
        if path.is_dir():
            found += _list_files(path, recursive=True) if recursive and path.name != "__pycache__" else []
        # An editor's lock file is a link whose name begins so.
        elif path.suffix == ".py" and path.name != "__init__.py" and not path.name.startswith(".#"):
            found.append(path)
    return found


def _read_revision(path: Path) -> Revision:
    text = read_file(path)
    try:
        tree = ast.parse(text.encode(errors="surrogateescape"), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise MigrationFault(f"{path.name} is not Python: {error}", file=path, line=line) from None
    values = _read_values(tree, path)
    legacy = _LEGACY.fullmatch(path.name)
    identity = values.get("revision") or (legacy[1] if legacy else None)
    if not isinstance(identity, str):
        raise MigrationFault(
            f"{path.name} declares no revision", hint='write revision = "…", or move the file away', file=path
        )
    doc = ast.get_docstring(tree) or ""
    created = _CREATED.search(doc)
    return Revision(
        identity,
        "_".join(_WORDS.findall(doc.partition("\n")[0])).lower(),
        path,
        text,
        hash_text(text),
        (*_to_texts(values.get("down_revision")), *_to_texts(values.get("depends_on"))),
        created[1].strip() if created else "",
        _to_texts(values.get("branch_labels")),
    )


def _read_values(tree: ast.Module, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: Sequence[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _NAMES and node.value is not None:
                try:
                    values[target.id] = ast.literal_eval(node.value)
                except ValueError:
                    raise MigrationFault(
                        f"{target.id} is computed, and confiture reads it without running the file",
                        hint=f'write the value itself: {target.id} = "…"',
                        file=path,
                        line=node.lineno,
                    ) from None
    return values


def _to_texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _resolve_all(revisions: Mapping[str, Revision]) -> dict[str, Revision]:
    labels = {label: revision.id for revision in revisions.values() for label in revision.labels}
    resolved = {}
    for revision in revisions.values():
        requires = tuple(
            dict.fromkeys(_resolve(name, revision, revisions, labels) for name in revision.requires)
        )
        resolved[revision.id] = evolve(revision, requires=requires)
    return resolved


def _resolve(
    name: str, revision: Revision, revisions: Mapping[str, Revision], labels: Mapping[str, str]
) -> str:
    """Return the identifier that a name in a file stands for: an identifier, the start of one, or a label."""
    if name in revisions:
        return name
    if name in labels:
        return labels[name]
    begun = [identity for identity in revisions if identity.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    raise MigrationFault(
        f"revision {revision.id} requires {name}, which no file declares",
        hint="restore its file",
        file=revision.path,
    )


def _sort_revisions(revisions: Mapping[str, Revision]) -> tuple[Revision, ...]:
    """Return the revisions after what they require, and by date where the graph leaves it open."""
    names = sort_by_requirements(
        {name: revision.requires for name, revision in revisions.items()},
        {name: revision.created for name, revision in revisions.items()},
    )
    if len(names) < len(revisions):
        left = next(revision for name, revision in revisions.items() if name not in names)
        raise MigrationFault(
            f"revision {left.id} requires itself, over other revisions",
            hint="correct down_revision or depends_on",
            file=left.path,
        )
    return tuple(revisions[name] for name in names)
