"""CONTRACT, Plugins, the rows *used* and *--locked*."""

from __future__ import annotations

import pytest

from confiture.exceptions import ConfigurationFault, PluginFault, PluginNotFound, UsageFault
from confiture.plugins.find import FoundPlugin
from confiture.plugins.select import ALL, PluginSelection, select_plugins


def a_plugin(name: str, version: str = "1.0", distribution: str = "") -> FoundPlugin:
    """Return a plugin as it is found."""
    return FoundPlugin(name, distribution or f"{name}-package", version, name)


INSTALLED = (a_plugin("apple"), a_plugin("fig", "1.2"), a_plugin("plum", "2.0"))


def names(chosen: PluginSelection) -> tuple[list[str], list[str]]:
    """Return the names used, and those not."""
    return [found_plugin.name for found_plugin in chosen.used], [
        found_plugin.name for found_plugin in chosen.unused
    ]


class TestUsed:
    """Which plugins take part."""

    def test_plain_uses_none_where_the_configuration_lists_none(self):
        """Installing a package changes nothing by itself."""
        assert names(select_plugins(INSTALLED)) == ([], ["apple", "fig", "plum"])

    def test_plain_uses_those_configured_in_their_order(self):
        """A version beside the name is for ``--locked``."""
        chosen = select_plugins(INSTALLED, ["plum==9.9", "apple"])

        assert names(chosen) == (["plum", "apple"], ["fig"])

    def test_an_empty_list_uses_none(self):
        """As if it were not set."""
        assert names(select_plugins(INSTALLED, [])) == ([], ["apple", "fig", "plum"])

    def test_plugins_without_a_value_uses_all_installed_by_name(self):
        """Whatever the configuration lists."""
        chosen = select_plugins(INSTALLED, ["plum"], ALL)

        assert names(chosen) == (["apple", "fig", "plum"], [])

    def test_plugins_with_names_uses_these_in_this_order(self):
        """Whatever the configuration lists."""
        chosen = select_plugins(INSTALLED, ["fig"], "plum, apple")

        assert names(chosen) == (["plum", "apple"], ["fig"])

    def test_no_plugins_uses_none_even_where_the_list_is_unusable(self):
        """It is the way out."""
        chosen = select_plugins(INSTALLED, ["gone", "apple>=1"], none=True)

        assert names(chosen) == ([], ["apple", "fig", "plum"])

    def test_plugins_of_one_name_are_all_chosen(self):
        """Loading refuses them with both their packages."""
        twins = (a_plugin("jam", distribution="mine"), a_plugin("jam", distribution="theirs"))

        chosen = select_plugins(twins, flag="jam")

        assert [found_plugin.distribution for found_plugin in chosen.used] == ["mine", "theirs"]

    @pytest.mark.parametrize("flag", ["", ",", "apple,", "apple,,fig", " "])
    def test_plugins_with_an_empty_name_is_refused(self, flag):
        """An unset variable in a script would otherwise choose for the user."""
        with pytest.raises(PluginFault, match="empty name") as raised:
            select_plugins(INSTALLED, flag=flag)

        assert raised.value.exit_code == 2
        assert "--no-plugins" in str(raised.value.hint)

    def test_plugins_with_a_name_twice_is_refused(self):
        """It would run twice."""
        with pytest.raises(PluginFault, match="names 'fig' twice"):
            select_plugins(INSTALLED, flag="fig,apple,fig")

    def test_both_flags_are_refused(self):
        """They say the opposite."""
        with pytest.raises(UsageFault, match="cannot both be given"):
            select_plugins(INSTALLED, flag=ALL, none=True)


class TestUnknown:
    """A name that no installed plugin has."""

    def test_an_unknown_plugin_suggests_the_nearest(self):
        """With the way on."""
        with pytest.raises(PluginNotFound) as raised:
            select_plugins(INSTALLED, flag="aple")

        assert raised.value.message == "no installed plugin is called 'aple'"
        assert str(raised.value.hint).startswith("did you mean 'apple'? pip install the package")
        assert raised.value.exit_code == 2

    def test_several_unknown_plugins_are_named_at_once(self):
        """In the configuration as in the flag."""
        with pytest.raises(PluginNotFound) as raised:
            select_plugins(INSTALLED, ["zzz", "fig", "yyy==1"])

        assert raised.value.message == "no installed plugin is called 'zzz' or 'yyy'"
        assert raised.value.names == ("zzz", "yyy")

    def test_names_are_compared_exactly(self):
        """An entry point's name is what it is."""
        with pytest.raises(PluginNotFound, match="'Apple'"):
            select_plugins(INSTALLED, flag="Apple")


class TestConfiguredList:
    """What ``plugins = [...]`` may hold."""

    @pytest.mark.parametrize(
        "entry", ["", "==1.0", "fig==", "fig>=1", "fig=1", "fig==1.*", "fig,plum", "fig===1"]
    )
    def test_an_entry_is_a_name_or_a_name_and_a_version(self, entry):
        """Anything else is an error, whatever is installed."""
        with pytest.raises(ConfigurationFault, match="neither a name nor name==version"):
            select_plugins(INSTALLED, [entry])

    def test_a_name_twice_is_refused(self):
        """Even with two versions."""
        with pytest.raises(ConfigurationFault, match="plugins names 'fig' twice"):
            select_plugins(INSTALLED, ["fig", "fig==1.2"])

    def test_spaces_round_the_parts_do_no_harm(self):
        """As pip reads them."""
        assert names(select_plugins(INSTALLED, [" fig == 1.2 "], locked=False))[0] == ["fig"]


class TestLocked:
    """``--locked``: names and versions installed are exactly those pinned."""

    PINS = ("fig==1.2", "apple==1.0", "plum==2.0")

    def test_what_is_installed_as_pinned_is_used(self):
        """In the order listed."""
        chosen = select_plugins(INSTALLED, self.PINS, locked=True)

        assert names(chosen) == (["fig", "apple", "plum"], [])

    def test_every_difference_is_told_at_once(self):
        """With what to write instead."""
        with pytest.raises(PluginFault) as raised:
            select_plugins(INSTALLED, ["fig==1.3", "apple", "cherry==4"], locked=True)

        assert raised.value.exit_code == 2
        assert raised.value.message.splitlines() == [
            "--locked: the installed plugins differ from plugins = [...] in the configuration:",
            "  'fig' is pinned to 1.3, but 1.2 is installed",
            "  'apple' is listed without a version",
            "  'cherry' is listed, but not installed",
            "  'plum' 2.0 is installed, but not listed",
        ]
        assert str(raised.value.hint).endswith('plugins = ["apple==1.0", "fig==1.2", "plum==2.0"]')

    @pytest.mark.parametrize(
        "configured, told",
        [
            (("fig==1.3", "apple==1.0", "plum==2.0"), "'fig' is pinned to 1.3"),
            (("fig", "apple==1.0", "plum==2.0"), "'fig' is listed without a version"),
            (("fig==1.2", "apple==1.0"), "'plum' 2.0 is installed, but not listed"),
            ((*PINS, "cherry==4"), "'cherry' is listed, but not installed"),
            (None, "'fig' 1.2 is installed, but not listed"),
        ],
        ids=["another version", "no version", "not listed", "not installed", "no list"],
    )
    def test_each_difference_is_enough(self, configured, told):
        """One is as wrong as all."""
        with pytest.raises(PluginFault) as raised:
            select_plugins(INSTALLED, configured, locked=True)

        assert told in raised.value.message

    def test_the_flag_still_says_which_are_used(self):
        """The whole environment is compared, part of it is used."""
        chosen = select_plugins(INSTALLED, self.PINS, "plum", locked=True)

        assert names(chosen) == (["plum"], ["apple", "fig"])

    def test_nothing_installed_and_nothing_listed_is_no_difference(self):
        """Plain SQL migrations may be locked, too."""
        assert select_plugins((), None, locked=True) == PluginSelection()
