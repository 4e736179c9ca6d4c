"""The kit's fixtures under short names, for all our tests: those of core, plugins and examples."""

from __future__ import annotations

import hypothesis
import pytest

# No test depends on time being fast: on a busy machine, drawing a few values takes seconds.
hypothesis.settings.register_profile(
    "confiture", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("confiture")

# Where the environment was made before the entry point was there; else pytest has found it already.
pytest_plugins = ["confiture.testing"]


@pytest.fixture(scope="session")
def server(confiture_server):
    """The server of this session."""
    return confiture_server


@pytest.fixture
def database_url(confiture_database_url):
    """The URL of a new, empty database."""
    return confiture_database_url


@pytest.fixture
def database(confiture_database):
    """A connection to it, in autocommit."""
    return confiture_database


@pytest.fixture
def second(confiture_second):
    """Another session on it, in autocommit."""
    return confiture_second


@pytest.fixture
def site(confiture_site):
    """An empty folder that packages can be installed into."""
    return confiture_site


@pytest.fixture
def fake_distribution(confiture_fake_distribution):
    """Write a package as pip would have left it."""
    return confiture_fake_distribution


@pytest.fixture(scope="session")
def install_plugin(confiture_install_plugin):
    """Build a package from its source and install it."""
    return confiture_install_plugin
