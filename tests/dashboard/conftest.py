"""A user's project on a database of its own, as everyday commands have it."""

from tests.everyday.conftest import project

__all__ = ["project"]
