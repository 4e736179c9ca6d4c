"""The kit for plugin authors: a server, a fresh database a test, and one phase run as a run does.

Installing ``confiture-pg`` is enough: pytest finds these fixtures by themselves, and imports the driver
only for a test that asks for a database. ``confiture-pg[embedded]`` brings the server, or
``CONFITURE_TEST_URL`` names one::

    from confiture.testing import run_hook

    import confiture_hello


    def test_it_counts_what_was_changed(confiture_database):
        with confiture_database.transaction():
            confiture_database.execute("CREATE TABLE jam ()")
            (result,) = run_hook(confiture_hello, "after_ddl", conn=confiture_database)

        assert result.stats == {"relations": 1}

All names begin with ``confiture_``, so that a project's own ``database`` stays its own.
"""

from confiture.testing.databases import (
    _confiture_templates,
    confiture_database,
    confiture_database_url,
    confiture_schema,
    confiture_second,
    confiture_server,
)
from confiture.testing.hook_call import run_hook
from confiture.testing.packages import (
    confiture_fake_distribution,
    confiture_install_plugin,
    confiture_site,
)
from confiture.testing.servers import AnyServer, NamedServer

__all__ = [
    "AnyServer",
    "NamedServer",
    "_confiture_templates",
    "confiture_database",
    "confiture_database_url",
    "confiture_fake_distribution",
    "confiture_install_plugin",
    "confiture_schema",
    "confiture_second",
    "confiture_server",
    "confiture_site",
    "run_hook",
]
