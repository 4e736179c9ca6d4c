"""A user's project on a database of its own, as the tests of the command line have it."""

from tests.cli.conftest import folder, project

__all__ = ["folder", "project"]
