"""Check what a migration requires before it begins, and what it leaves behind."""

from confiture_checks.hook import Checks

plugin = Checks()

__all__ = ["Checks", "plugin"]
