"""A user's project for each test, on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.everyday.conftest import project

__all__ = ["project", "second_url"]


@pytest.fixture
def second_url(confiture_server, _confiture_templates) -> Iterator[str]:
    """The URL of another empty database."""
    name = _confiture_templates.copy("template0")
    yield confiture_server.conninfo(name)
    _confiture_templates.drop(name)
