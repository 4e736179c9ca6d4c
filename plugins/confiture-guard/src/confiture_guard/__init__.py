"""Refuse a migration on the wrong server, at the wrong hour or on a busy table; set role and timeouts."""

from confiture_guard.hook import MigrationSafety

plugin = MigrationSafety()

__all__ = ["MigrationSafety", "plugin"]
