"""Decide which migrations the gate checks: all, those after a version, or those that changed."""

from __future__ import annotations

from attrs import frozen

from confiture.migrations.version import VersionKey, parse_version


@frozen
class Scope:
    """The migrations that the gate checks; all others are only reported.

    Attributes:
        after: Check only versions above this one; ``None`` to check all.
        since: The commit that ``files`` were compared with, as the user wrote it.
        files: The files that changed, as reports show them; ``None`` if all count as changed.
        versions: The versions of these files. A changed ``.check.sql`` has the version of its migration.
        base_files: The files that exist in the commit that they were compared with.
        base_versions: The versions of these files.
    """

    after: str | None = None
    since: str | None = None
    files: frozenset[str] | None = None
    versions: frozenset[VersionKey] = frozenset()
    base_files: frozenset[str] = frozenset()
    base_versions: frozenset[VersionKey] = frozenset()

    def includes(self, version: str, file: str | None) -> bool:
        """Return True if the gate checks this migration."""
        return self._is_new(version) and self._has_changed(version, file)

    def adds(self, version: str, file: str | None) -> bool:
        """Return True if the gate checks this migration, and the base has none of its name or version."""
        merged = file in self.base_files or bool(version and parse_version(version) in self.base_versions)
        return self.includes(version, file) and not merged

    def _is_new(self, version: str) -> bool:
        # A file that the user names may have no version; such a file counts as new.
        return not (self.after and version) or parse_version(version) > parse_version(self.after)

    def _has_changed(self, version: str, file: str | None) -> bool:
        if self.files is None:
            return True
        return file in self.files or bool(version and parse_version(version) in self.versions)

    @property
    def description(self) -> str | None:
        """The scope as a phrase; ``None`` if all migrations are checked."""
        parts = [f"newer than {self.after}"] if self.after else []
        parts += [f"changed since {self.since}"] if self.since else []
        return " and ".join(parts) or None


EVERYTHING = Scope()
