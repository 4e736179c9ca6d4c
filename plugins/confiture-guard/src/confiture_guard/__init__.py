"""Say no before a migration hurts: wrong server, wrong hour, somebody in the way. And never wait long."""

from confiture_guard.hook import Guard

plugin = Guard()

__all__ = ["Guard", "plugin"]
