"""Mirror migrations to pgGit: an event and a commit each, and the versions of objects from there."""

from confiture_pggit.hook import MirrorToPgGit

plugin = MirrorToPgGit()

__all__ = ["MirrorToPgGit", "plugin"]
