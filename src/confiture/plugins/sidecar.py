"""Find the file that a plugin keeps next to a migration: ``0005_orders.check.sql``."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from confiture.migrations.version import FileName, parse_filename, parse_version
from confiture.plugins.plugin_settings import PluginSettingsFault


@frozen
class Sidecar:
    """A file next to a migration.

    Attributes:
        name: The file's name.
        text: Its text, with LF line ends.
    """

    name: str
    text: str = field(repr=False)


def find_sidecar(folder: Path | None, version: str, name: str, suffix: str) -> Sidecar | None:
    """Return the sidecar file of a migration, ``None`` if there is none.

    Args:
        folder: The migrations folder, ``context.folder``; if it is ``None``, there is no file.
        version: ``context.migration_version``.
        name: ``context.migration_name``.
        suffix: The end of the file's name, such as ``".check.sql"``. Confiture takes other files that end in
            ``.sql`` or ``.py`` for migrations, except ``.check.sql`` and ``.backfill.sql``: choose another
            ending for your plugin.

    Raises:
        PluginSettingsFault: The file cannot be read, two files have this version, or the file has the name
            of another migration.
    """
    files = _list_sidecars(folder, version, suffix) if folder else []
    if not files:
        return None
    if len(files) > 1:
        names = " and ".join(path.name for path in files)
        raise PluginSettingsFault(f"{names} both have the version {version}", hint="keep one of them")
    (path,) = files
    parsed = _parse_name(path, suffix)
    # An error, because a file with a misspelt name would never run, and nobody would notice.
    if parsed and parsed.name != name:
        raise PluginSettingsFault(
            f"{path.name} has the version {version}, but that migration is called {name!r}",
            hint=f"rename it to {'_'.join(filter(None, (version, name)))}{suffix}",
        )
    return Sidecar(path.name, _read_file(path))


def _list_sidecars(folder: Path, version: str, suffix: str) -> list[Path]:
    return [
        path
        for path in sorted(folder.glob(f"*{suffix}"))
        if (parsed := _parse_name(path, suffix)) and parse_version(parsed.version) == parse_version(version)
    ]


def _parse_name(path: Path, suffix: str) -> FileName | None:
    # parse_filename accepts only the endings of migrations.
    return parse_filename(f"{path.name.removesuffix(suffix)}.sql")


def _read_file(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PluginSettingsFault(
            f"{path.name} cannot be read: {error.strerror}",
            hint="check that it is a file and that you may read it",
        ) from error
    except UnicodeDecodeError as error:
        raise PluginSettingsFault(
            f"{path.name} is not UTF-8 (byte {error.start + 1})", hint="save it as UTF-8"
        ) from error
    if "\0" in text:
        # libpq takes SQL as a C string, which would end there without an error.
        raise PluginSettingsFault(f"{path.name} contains a NUL character", hint="remove it")
    return text.replace("\r\n", "\n")
