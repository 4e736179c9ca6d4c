"""A user's project on a database of its own, as everyday commands have it, and a second database."""

from tests.everyday.conftest import project
from tests.sources.conftest import alone

__all__ = ["alone", "project"]
