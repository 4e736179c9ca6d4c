"""CONTRACT, Plugins, the row *broken plugin*: ``plugins`` lists it, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault
from confiture.models.plan import PluginStatus
from confiture.plugins.inventory import list_plugins

HOOK = "from confiture import hookimpl\n\n@hookimpl\ndef before_ddl(conn, context): ...\n"


@pytest.fixture
def surveyed(found_in) -> Callable[..., dict[str, PluginStatus]]:
    """Survey with this configuration; return the states by name."""

    def states(**configured) -> dict[str, PluginStatus]:
        return {plugin.name: plugin for plugin in list_plugins(Settings(root=Path(), **configured))}

    return states


def test_each_plugin_is_ready_unused_or_broken(fake_distribution, surveyed):
    """The state says what a plain run would do with it."""
    fake_distribution("apple", HOOK)
    fake_distribution("fig", HOOK)
    fake_distribution("plum", "import no_such_fruit\n")

    states = surveyed(plugins=("fig==1.0",))

    assert states["apple"] == PluginStatus("apple", "apple-package", "1.0", "unused", ("before_ddl",))
    assert states["fig"].state == "ready"
    assert states["plum"].state == "broken"
    assert "ModuleNotFoundError" in states["plum"].faults[0]


def test_a_broken_plugin_is_listed_whether_it_is_used_or_not(fake_distribution, surveyed):
    """Even one that would end the process."""
    fake_distribution("apple", "raise SystemExit\n")

    assert surveyed(plugins=("apple",))["apple"].state == "broken"
    assert surveyed()["apple"].state == "broken"


def test_a_plugin_whose_configuration_is_wrong_is_broken(fake_distribution, surveyed):
    """A run would refuse to start with it."""
    fake_distribution("apple", f"{HOOK}config_keys = ['target']\n")

    states = surveyed(plugin_tables={"apple": {"targte": 1}})

    assert states["apple"].state == "broken"
    assert "unknown key 'targte'" in states["apple"].faults[0]


def test_a_configured_plugin_that_is_not_installed_is_listed_as_broken(surveyed):
    """It is what keeps the next run from starting."""
    states = surveyed(plugins=("no-such-plugin==1.0",))

    assert states["no-such-plugin"].state == "broken"
    assert states["no-such-plugin"].faults == ("plugin 'no-such-plugin' is configured, but not installed",)


def test_two_plugins_of_one_name_are_both_broken(fake_distribution, found_in):
    """Each line names the other."""
    fake_distribution("jam", HOOK, distribution="mine")
    fake_distribution("jam", HOOK, distribution="theirs")

    states = [plugin for plugin in list_plugins(Settings(root=Path())) if plugin.name == "jam"]

    assert [(state.distribution, state.state) for state in states] == [
        ("mine", "broken"),
        ("theirs", "broken"),
    ]
    assert all("2 plugins are called 'jam'" in state.faults[0] for state in states)


def test_a_list_that_cannot_be_read_is_the_configurations_fault(surveyed):
    """No plugin is to blame."""
    with pytest.raises(ConfigurationFault):
        surveyed(plugins=("apple>=1",))
