"""CONTRACT, Plugins, the row *order*: as listed, then tryfirst and trylast."""

from __future__ import annotations

from typing import Any

import pluggy
import pytest

from confiture import hookimpl
from confiture.hooks import spec
from confiture.plugins.load import LoadedPlugin
from confiture.plugins.order import fill_manager, list_order


def a_plugin(name: str, **marks: Any) -> LoadedPlugin:
    """Return a plugin whose ``before_ddl`` notes its name, marked as asked."""

    def before_ddl(conn):
        conn.append(name)

    def wrapping(conn):
        conn.append(name)
        return (yield)

    function = wrapping if marks.get("wrapper") else before_ddl
    plugin = type(name, (), {"before_ddl": staticmethod(hookimpl(**marks)(function))})()
    return LoadedPlugin(name, f"{name}-package", "1.0", plugin, ("before_ddl",))


def called(*plugins: LoadedPlugin) -> list[str]:
    """Return who is really called, first to last."""
    manager = pluggy.PluginManager("confiture")
    manager.add_hookspecs(spec)
    names: list[str] = []
    fill_manager(plugins, manager).hook.before_ddl(conn=names, context=None)
    return names


def test_the_order_is_as_listed():
    """pluggy's own would be the last first."""
    plugins = (a_plugin("plum"), a_plugin("apple"), a_plugin("fig"))

    shown = list_order(plugins)

    assert shown["before_ddl"] == ("plum", "apple", "fig")


def test_every_phase_is_there_in_the_order_of_a_migration():
    """Those without hooks are empty."""
    shown = list_order([a_plugin("plum")])

    assert list(shown) == [
        "before_validation", "before_ddl", "after_ddl", "after_validation", "cleanup", "on_error",
    ]  # fmt: skip
    assert shown["on_error"] == ()


def test_tryfirst_trylast_and_wrappers_are_marked_and_moved():
    """Wrappers stand round everything, so they begin first."""
    plugins = (
        a_plugin("late", trylast=True),
        a_plugin("plum"),
        a_plugin("early", tryfirst=True),
        a_plugin("timing", wrapper=True),
    )

    shown = list_order(plugins)

    assert shown["before_ddl"] == ("timing (wrapper)", "early (tryfirst)", "plum", "late (trylast)")


@pytest.mark.parametrize(
    "marks",
    [
        ({}, {}, {}),
        ({"tryfirst": True}, {"tryfirst": True}, {}),
        ({"trylast": True}, {}, {"trylast": True}),
        ({"wrapper": True}, {"wrapper": True, "tryfirst": True}, {}),
        ({"wrapper": True, "trylast": True}, {"wrapper": True}, {"tryfirst": True}),
    ],
)
def test_the_order_shown_is_the_order_called(marks):
    """Whatever the marks; asked of pluggy, not foretold."""
    plugins = [a_plugin(name, **mark) for name, mark in zip("abc", marks, strict=True)]

    shown = [text.split()[0] for text in list_order(plugins)["before_ddl"]]

    assert shown == called(*plugins)


def test_two_functions_for_one_phase_are_two_entries():
    """specname allows it."""
    first, second = hookimpl(lambda: None, specname="cleanup"), hookimpl(lambda: None, specname="cleanup")
    plugin = type("Two", (), {"first": staticmethod(first), "second": staticmethod(second)})()

    shown = list_order([LoadedPlugin("two", "two-package", "1.0", plugin)])

    assert shown["cleanup"] == ("two", "two")


def test_equal_and_unhashable_plugins_are_kept_apart():
    """pluggy takes equal plugins for one that is registered twice."""

    class Same:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other):
            return True

        @hookimpl
        def before_ddl(self): ...

    plugins = [LoadedPlugin("a", "a", "1.0", Same()), LoadedPlugin("b", "b", "1.0", Same())]

    assert list_order(plugins)["before_ddl"] == ("a", "b")


def test_one_object_under_two_names_is_called_under_both():
    """Two entry points may name the same module."""
    plugin = a_plugin("jam").plugin
    plugins = [LoadedPlugin("jam", "p", "1.0", plugin), LoadedPlugin("jelly", "p", "1.0", plugin)]

    assert list_order(plugins)["before_ddl"] == ("jam", "jelly")


def test_a_plugin_with_faults_is_not_in_the_order():
    """It would not be called."""
    broken = LoadedPlugin("broken", "p", "1.0", None, faults=("no hooks",))

    assert list_order([broken, a_plugin("plum")])["before_ddl"] == ("plum",)
