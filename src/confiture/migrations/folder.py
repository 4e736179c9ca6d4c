"""Read a folder of migration files, in order of version, without parsing SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from confiture.exceptions import MigrationFault, MigrationFaults, SourceFault
from confiture.migrations.file_notes import format_names
from confiture.migrations.other_tools import find_tool, recognize_tool
from confiture.migrations.version import FileName, VersionKey, parse_filename, parse_version
from confiture.models.migration import MigrationFile
from confiture.sql.position import SourceFile

_DIGIT_FIRST = re.compile("[0-9]")
_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@frozen
class _MigrationFile:
    """A migration file recognized by its name, not yet opened."""

    path: Path
    parsed_name: FileName


def read_folder(folder: Path) -> tuple[MigrationFile, ...]:
    """Return the migrations of a folder, oldest first.

    Raises:
        SourceFault: The folder does not exist, or contains no migration.
        MigrationFault: A file is faulty.
        MigrationFaults: Several files are faulty.
    """
    # Collect all faults, so that one run reports every file to correct.
    faults: list[MigrationFault] = []
    paths = [path for path in list_folder(folder) if path.name[:1] in "0123456789" and not path.is_dir()]
    found = _recognize_files(paths, faults)
    scripts = []
    for group in _group_by_version(found):
        try:
            scripts.append(_build_script(group))
        except MigrationFault as fault:
            faults.append(fault)
        except MigrationFaults as several:
            faults += several.faults
    if faults:
        raise combine_faults(sorted(faults, key=lambda fault: str(fault.file)))
    if not scripts:
        raise _build_nothing_fault(folder)
    return tuple(sorted(scripts, key=lambda script: parse_version(script.version)))


def combine_faults(faults: list[MigrationFault]) -> MigrationFault | MigrationFaults:
    """Return the only fault, or one fault that lists all of them."""
    return faults[0] if len(faults) == 1 else MigrationFaults(faults)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without BOM and with LF at line ends.

    Raises:
        MigrationFault: The file cannot be read, is not UTF-8 or contains a NUL character.
    """
    text = read_file(path)
    check_text(path, text)
    return text


def check_text(path: Path, text: str) -> None:
    """Refuse a file's text that is not UTF-8 or contains a NUL character.

    Raises:
        MigrationFault: It is such a text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _build_utf8_fault(path, text, error.start) from None
    if "\0" in text:
        raise SourceFile(path, text).build_fault(
            f"{path.name} contains a NUL character",
            text.index("\0"),
            hint="remove it: PostgreSQL accepts no NUL in SQL; check that this is a text file in UTF-8",
        )


def read_file(path: Path) -> str:
    """Return the text of a file; a byte that is not UTF-8 becomes a surrogate, which keeps its value.

    What is applied is never parsed and must not stop anything: what is wrong with a text is reported when its
    migration is prepared.

    Raises:
        MigrationFault: The file cannot be read.
    """
    if not path.is_file() and path.exists():
        raise MigrationFault(
            f"{path.name} is not a file",
            hint="delete it, or rename it so that its name does not begin with a digit",
            file=path,
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MigrationFault(
            f"{path.name} cannot be read: {reason}",
            hint="check that the file exists and that you may read it",
            file=path,
        ) from None
    # Git may check the same file out with CRLF on another machine: the checksum must not change.
    return data.removeprefix(_BOM).decode(errors="surrogateescape").replace("\r\n", "\n")


def list_folder(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted by name.

    Raises:
        SourceFault: The folder does not exist, or cannot be read.
    """
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        raise SourceFault(
            f"there is no migrations folder {folder}",
            hint="create it: confiture init; or name another: --migrations DIR",
        ) from None
    except NotADirectoryError:
        raise SourceFault(f"{folder} is not a folder", hint="name the folder: --migrations DIR") from None
    except OSError as error:
        raise SourceFault(
            f"the migrations folder {folder} cannot be read: {error.strerror}",
            hint="check that you may read it, or name another: --migrations DIR",
        ) from None


def find_unversioned(folder: Path) -> tuple[str, ...]:
    """Return the names of the ``.sql`` files that are not read, because no version begins their names."""
    try:
        found = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError:
        return ()
    return tuple(name for name in found if re.fullmatch(r"[^.0-9].*\.sql", name, re.IGNORECASE | re.DOTALL))


def has_migrations(folder: Path) -> bool:
    """Return True if a file's name is that of a migration of the plain convention."""
    try:
        return any(parse_filename(path.name) for path in folder.iterdir())
    except OSError:
        return False


def _build_nothing_fault(folder: Path) -> SourceFault:
    if tool := find_tool(folder):
        return SourceFault(
            f"no migrations in {folder} that confiture reads: {tool.evidence} is one of {tool.name}",
            hint=tool.way,
        )
    if unversioned := find_unversioned(folder):
        return SourceFault(
            f"no migrations in {folder}: no version begins the name of {format_names(unversioned)}",
            hint="name a migration VERSION_name.sql: 20260131120000_create_orders.sql",
        )
    return SourceFault(f"no migrations in {folder}", hint="write the first one: confiture new NAME")


def _recognize_files(paths: Iterable[Path], faults: list[MigrationFault]) -> list[_MigrationFile]:
    found = []
    for path in paths:
        parsed_name = parse_filename(path.name)
        if path.suffix.lower() in (".sql", ".py") and _is_undecodable(path.name):
            faults.append(_build_encoding_fault(path))
        elif path.suffix.lower() in (".sql", ".py") and parsed_name is None:
            faults.append(_build_name_fault(path))
        # .check.sql and .backfill.sql files belong to plugins.
        elif parsed_name is not None and parsed_name.part not in ("check", "backfill"):
            found.append(_MigrationFile(path, parsed_name))
    return found


def _group_by_version(found: Iterable[_MigrationFile]) -> list[list[_MigrationFile]]:
    groups: dict[VersionKey, list[_MigrationFile]] = {}
    for file in found:
        groups.setdefault(parse_version(file.parsed_name.version), []).append(file)
    return list(groups.values())


def _build_script(group: list[_MigrationFile]) -> MigrationFile:
    ups = [file for file in group if file.parsed_name.part != "down"]
    downs = [file for file in group if file.parsed_name.part == "down"]
    faults = [
        _build_missing_up_fault(down, ups) for down in downs if not any(_is_pair(up, down) for up in ups)
    ]
    if len(ups) > 1:
        faults.insert(0, _build_duplicate_fault(ups))
    if faults:
        raise combine_faults(faults)
    return _read_script(ups[0], downs[0] if downs else None)


def _read_script(up: _MigrationFile, down: _MigrationFile | None) -> MigrationFile:
    text = read_file(up.path)
    return MigrationFile(
        version=up.parsed_name.version,
        name=up.parsed_name.name,
        kind="python" if up.parsed_name.part == "python" else "sql",
        path=up.path,
        text=text,
        checksum=hash_text(text),
        down_path=down.path if down else None,
        down_text=read_file(down.path) if down else None,
    )


def _is_pair(up: _MigrationFile, down: _MigrationFile) -> bool:
    return up.parsed_name.part == "up" and _get_stem(up) == _get_stem(down)


def _get_stem(found: _MigrationFile) -> str:
    return found.path.name.removesuffix(f".{found.parsed_name.part}.sql")


def _build_name_fault(path: Path) -> MigrationFault:
    tool = recognize_tool([path.name])
    return MigrationFault(
        f"{path.name!r} is not the name of a migration",
        hint=f"if it is one of {tool.name}: {tool.way}"
        if tool
        else "name it VERSION_name.up.sql, VERSION_name.down.sql, VERSION_name.sql or VERSION_name.py; "
        "if it is not a migration, its name must not begin with a digit",
        file=path,
    )


def _is_undecodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _build_encoding_fault(path: Path) -> MigrationFault:
    return MigrationFault(
        f"the file name {path.name!r} is not UTF-8",
        hint="rename it: the ledger stores the name, and PostgreSQL accepts only UTF-8",
    )


def _build_duplicate_fault(files: list[_MigrationFile]) -> MigrationFault:
    names = [file.path.name for file in files]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return MigrationFault(
        f"version {files[0].parsed_name.version} is used {len(files)} times: {listed}",
        hint="give all but one of them a new version; versions compare number by number: 1 equals 001",
        file=files[-1].path,
    )


def _build_missing_up_fault(down: _MigrationFile, ups: list[_MigrationFile]) -> MigrationFault:
    wanted = f"{_get_stem(down)}.up.sql"
    other = f"; {ups[0].path.name} does not match it" if ups else ""
    return MigrationFault(
        f"{down.path.name} has no {wanted}{other}",
        hint=f"rename the file that it undoes to {wanted}, or delete {down.path.name}",
        file=down.path,
    )


def _build_utf8_fault(path: Path, text: str, offset: int) -> MigrationFault:
    byte = text[offset].encode(errors="surrogateescape")
    fault = SourceFile(path, text[:offset]).build_fault(
        f"{path.name} is not UTF-8: byte 0x{byte.hex()}", offset
    )
    # Windows PowerShell writes UTF-16; any other text that is not UTF-8 can be read as LATIN1.
    wide = text[:2].encode(errors="surrogateescape") in _UTF_16_BOMS
    fault.hint = f"convert it: iconv -f {'UTF-16' if wide else 'LATIN1'} -t UTF-8 {path.name}"
    return fault


def hash_text(text: str) -> str:
    """Return the checksum of a file or a statement: the SHA-256 of its UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
