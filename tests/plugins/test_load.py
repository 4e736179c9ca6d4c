"""CONTRACT, Plugins, *refused at load*: every refusal by itself, then all in one message."""

from __future__ import annotations

import pytest

from confiture.exceptions import PluginFault
from confiture.models.report import PluginUse
from confiture.plugins.find import find_plugins
from confiture.plugins.load import LoadedPlugin, load_all, load_plugin
from confiture.plugins.order import list_order
from confiture.plugins.select import ALL, PluginSelection, select_plugins

HOOK = "from confiture import hookimpl\n\n@hookimpl\ndef before_ddl(conn, context): ...\n"
HEAD = "from confiture import hookimpl\n\n"


def only_fault(loaded: LoadedPlugin) -> str:
    """Return the one fault of a plugin."""
    assert len(loaded.faults) == 1, loaded.faults
    return loaded.faults[0]


class TestWhatIsAccepted:
    """pluggy's rules hold."""

    def test_a_module_with_hooks_has_its_phases_in_their_order(self, loaded):
        """Whatever the order in the file."""
        jam = loaded(
            f"{HEAD}@hookimpl\ndef on_error(conn, context, error): ...\n"
            "@hookimpl\ndef after_ddl(conn, context): ...\n"
            "@hookimpl\ndef before_validation(conn): ...\n"
        )

        assert jam.faults == ()
        assert jam.phases == ("before_validation", "after_ddl", "on_error")
        assert jam.use == PluginUse("jam", "jam-package", "1.0")

    def test_an_object_is_as_good_as_a_module(self, loaded):
        """Methods, class methods and static methods."""
        jam = loaded(
            f"{HEAD}class Jam:\n"
            "    @hookimpl\n    def before_ddl(self, conn, context): ...\n"
            "    @classmethod\n    @hookimpl\n    def after_ddl(cls, context): ...\n"
            "    @staticmethod\n    @hookimpl\n    def cleanup(conn): ...\n"
            "plugin = Jam()\n",
            entry="jam:plugin",
        )

        assert jam.faults == ()
        assert jam.phases == ("before_ddl", "after_ddl", "cleanup")

    def test_an_attribute_of_an_attribute_can_be_the_plugin(self, loaded):
        """As packaging allows, extras in brackets included."""
        jam = loaded(
            HOOK.replace("@hookimpl", "class Box:\n  class jar:\n    pass\n\n@hookimpl")
            + "Box.jar = __import__(__name__)\n",
            entry="jam:Box.jar [extra]",
        )

        assert jam.faults == ()
        assert jam.phases == ("before_ddl",)

    def test_a_hook_may_take_fewer_arguments(self, loaded):
        """None at all, even."""
        jam = loaded(f"{HEAD}@hookimpl\ndef before_ddl(): ...\n@hookimpl\ndef on_error(error): ...\n")

        assert jam.faults == ()

    def test_specname_lets_the_function_have_a_name_of_its_own(self, loaded):
        """Two functions for one phase, too."""
        jam = loaded(
            f"{HEAD}@hookimpl(specname='cleanup')\ndef sweep(conn): ...\n"
            "@hookimpl(specname='cleanup')\ndef mop(conn): ...\n"
        )

        assert jam.faults == ()
        assert jam.phases == ("cleanup",)

    def test_an_optionalhook_need_not_exist(self, loaded):
        """It may be one of a later confiture."""
        jam = loaded(
            f"{HEAD}@hookimpl(optionalhook=True)\ndef after_lunch(soup): ...\n@hookimpl\ndef cleanup(): ...\n"
        )

        assert jam.faults == ()
        assert jam.phases == ("cleanup",)

    def test_wrappers_and_generator_hooks_are_both_generators(self, loaded):
        """Only a wrapper has to be one."""
        jam = loaded(
            f"{HEAD}@hookimpl(wrapper=True)\ndef before_ddl(conn):\n    return (yield)\n"
            "@hookimpl(wrapper=True)\ndef cleanup(conn):\n    return (yield)\n"
            "@hookimpl\ndef after_ddl(conn):\n    yield 1\n"
        )

        assert jam.faults == ()
        assert jam.phases == ("before_ddl", "after_ddl", "cleanup")

    def test_an_unhashable_plugin_with_empty_slots_is_fine(self, loaded):
        """What pluggy does not need is not asked for."""
        jam = loaded(
            f"{HEAD}class Jam:\n    __slots__ = ('lid',)\n    __hash__ = None\n"
            "    def __eq__(self, other): return True\n"
            "    @hookimpl\n    def before_ddl(self): ...\n"
            "plugin = Jam()\n",
            entry="jam:plugin",
        )

        assert jam.faults == ()
        assert jam.phases == ("before_ddl",)

    def test_what_a_plugin_prints_while_it_is_imported_goes_to_stderr(self, loaded, capfd):
        """stdout is for the report."""
        loaded(f"print('spread')\n{HOOK}")

        assert capfd.readouterr() == ("", "spread\n")


class TestImportError:
    """The module or the attribute is not to be had."""

    def test_an_import_error_names_the_plugin_the_original_and_the_line(self, loaded, site):
        """The plugin's own line, not importlib's."""
        jam = loaded("\n\nimport no_such_fruit\n")

        assert only_fault(jam) == (
            "plugin 'jam' (jam-package 1.0): importing jam failed with ModuleNotFoundError: "
            f"No module named 'no_such_fruit' ({site}/jam.py:3)"
        )
        assert jam.plugin is None
        assert jam.phases == ()

    def test_a_missing_module_is_an_import_error(self, loaded):
        """The package was installed without it."""
        jam = loaded(HOOK, entry="marmalade")

        assert only_fault(jam).endswith(
            "importing marmalade failed with ModuleNotFoundError: No module named 'marmalade'"
        )

    def test_a_syntax_error_names_its_line(self, loaded, site):
        """That of the plugin's file."""
        jam = loaded("x = 1\ndef (\n")

        assert "failed with SyntaxError: " in only_fault(jam)
        assert only_fault(jam).endswith(f"({site}/jam.py:2)")

    def test_a_plugin_that_exits_while_imported_is_an_import_error(self, loaded, site):
        """It does not take confiture with it."""
        jam = loaded("import sys\nsys.exit('burnt')\n")

        assert only_fault(jam).endswith(f"failed with SystemExit: burnt ({site}/jam.py:2)")

    def test_an_error_of_several_lines_is_told_on_one(self, loaded):
        """A list of faults stays readable."""
        jam = loaded("raise ValueError('too\\n  sweet')\n")

        assert "failed with ValueError: too sweet (" in only_fault(jam)

    def test_an_error_that_cannot_be_printed_is_told_by_its_type(self, loaded):
        """Its own __str__ raises."""
        jam = loaded("class Sour(Exception):\n    def __str__(self): 1 / 0\nraise Sour\n")

        assert "failed with Sour (" in only_fault(jam)

    def test_an_interrupt_while_importing_is_an_interrupt(self, loaded):
        """Ctrl-C is the user's, not the plugin's fault."""
        with pytest.raises(KeyboardInterrupt):
            loaded("raise KeyboardInterrupt\n")

    def test_a_missing_attribute_suggests_the_nearest(self, loaded):
        """The module is there, what it is asked for is not."""
        jam = loaded(f"{HOOK}plugin = 1\n", entry="jam:plugni")

        assert only_fault(jam) == (
            "plugin 'jam' (jam-package 1.0): jam:plugni cannot be found, there is no 'plugni'; "
            "did you mean 'plugin'?"
        )

    @pytest.mark.parametrize("entry", ["not a module", ":jam", "jam..jar", ".jam"])
    def test_an_entry_point_that_names_nothing_is_an_import_error(self, loaded, entry):
        """However odd."""
        jam = loaded(HOOK, entry=entry)

        assert f"importing {entry} failed with" in only_fault(jam)


class TestNoHooks:
    """There is nothing to call."""

    def test_a_module_without_hooks_is_refused(self, loaded):
        """It would do nothing, silently."""
        jam = loaded("fruit = 'plum'\n")

        assert only_fault(jam).endswith(
            "jam has no hooks: it is a module without a function marked @hookimpl"
        )

    def test_functions_that_lack_the_mark_are_named(self, loaded):
        """The usual reason."""
        jam = loaded("def before_ddl(conn, context): ...\n")

        assert only_fault(jam).endswith("jam has no hooks: before_ddl is not marked @hookimpl")

    def test_the_mark_of_another_project_is_not_ours(self, loaded):
        """A pytest plugin is no confiture plugin."""
        jam = loaded(
            "import pluggy\nhookimpl = pluggy.HookimplMarker('pytest')\n"
            "@hookimpl\ndef before_ddl(conn): ...\n"
        )

        assert only_fault(jam).endswith("before_ddl is not marked @hookimpl")

    @pytest.mark.parametrize("what", ["None", "'text'", "before_ddl", "lambda: 1"])
    def test_what_cannot_have_hooks_is_refused(self, loaded, what):
        """pluggy would register None and say nothing."""
        jam = loaded(f"{HOOK}plugin = {what}\n", entry="jam:plugin")

        assert "jam:plugin has no hooks: it is a " in only_fault(jam)

    def test_a_marked_thing_that_is_no_function_is_refused(self, loaded):
        """pluggy would pass it over."""
        jam = loaded(f"{HEAD}import functools\nbefore_ddl = hookimpl(functools.partial(print, 1))\n")

        assert only_fault(jam).endswith(
            "'before_ddl' is marked @hookimpl and is not a function but a partial, which would never be called"
        )

    @pytest.mark.parametrize("kind, own", [("staticmethod", ""), ("classmethod", "cls")])
    def test_a_mark_above_a_static_method_is_never_dropped(self, loaded, kind, own):
        """pluggy calls it from 1.7 on, and passes it over before."""
        jam = loaded(
            f"{HEAD}class Jam:\n    @hookimpl(tryfirst=True)\n    @{kind}\n    def before_ddl({own}): ...\n"
            "plugin = Jam()\n",
            entry="jam:plugin",
        )

        called = list_order([jam])["before_ddl"] == ("jam (tryfirst)",)
        refused = f"is not a function but a {kind}" in "".join(jam.faults)
        assert called != refused


class TestUnknownHook:
    """A function is marked and no phase has its name."""

    def test_an_unknown_hook_suggests_the_nearest_and_names_its_line(self, loaded, site):
        """A misspelt hook would never be called."""
        jam = loaded(f"{HEAD}@hookimpl\ndef befor_ddl(conn, context): ...\n")

        assert only_fault(jam) == (
            f"plugin 'jam' (jam-package 1.0): befor_ddl() is not a hook ({site}/jam.py:3); "
            "did you mean 'before_ddl'?"
        )

    def test_a_hook_like_no_other_is_told_which_there_are(self, loaded):
        """Nothing is near."""
        jam = loaded(f"{HEAD}@hookimpl\ndef zzz(conn): ...\n")

        assert only_fault(jam).endswith(
            "; the hooks are before_validation, before_ddl, after_ddl, after_validation, cleanup, on_error, reporters, rules, sources, executors, object_versions, check_fleet"
        )

    def test_an_unknown_specname_is_an_unknown_hook(self, loaded):
        """The function's name does not save it."""
        jam = loaded(f"{HEAD}@hookimpl(specname='clean_up')\ndef cleanup(conn): ...\n")

        assert "cleanup() for clean_up is not a hook" in only_fault(jam)
        assert only_fault(jam).endswith("did you mean 'cleanup'?")


class TestArguments:
    """pluggy passes by name, and only what the hookspec has."""

    def test_an_unknown_argument_suggests_the_nearest(self, loaded, site):
        """The function is named, and its line."""
        jam = loaded(f"{HEAD}@hookimpl\ndef after_ddl(con, context): ...\n")

        assert only_fault(jam) == (
            "plugin 'jam' (jam-package 1.0): after_ddl() has an unknown argument 'con', "
            f"did you mean 'conn'? ({site}/jam.py:3)"
        )

    def test_the_error_is_for_on_error_only(self, loaded):
        """Elsewhere it is unknown, and what is given is said."""
        jam = loaded(f"{HEAD}@hookimpl\ndef cleanup(conn, error): ...\n")

        assert "cleanup() has an unknown argument 'error', it is given conn, context" in only_fault(jam)

    def test_a_defaulted_argument_is_refused(self, loaded):
        """pluggy drops it without a word, and the hook would see the default for ever."""
        jam = loaded(f"{HEAD}@hookimpl\ndef after_ddl(conn, context=None): ...\n")

        assert "after_ddl() has a default for its argument 'context'" in only_fault(jam)

    @pytest.mark.parametrize("default", ["", "=None"])
    def test_a_keyword_only_argument_is_refused(self, loaded, default):
        """pluggy does not see it."""
        jam = loaded(f"{HEAD}@hookimpl\ndef after_ddl(conn, *, context{default}): ...\n")

        assert "after_ddl() has a keyword-only argument 'context'" in only_fault(jam)

    @pytest.mark.parametrize("stars", ["*args", "**kwargs"])
    def test_stars_are_refused(self, loaded, stars):
        """They would stay empty: a decorator without functools.wraps looks like this."""
        jam = loaded(f"{HEAD}@hookimpl\ndef after_ddl({stars}): ...\n")

        assert f"after_ddl() has an argument '{stars}', which would stay empty" in only_fault(jam)

    def test_a_decorator_with_functools_wraps_keeps_the_arguments(self, loaded):
        """The stars of the wrapper are not what pluggy sees."""
        jam = loaded(
            f"{HEAD}import functools\n"
            "def timed(function):\n"
            "    @functools.wraps(function)\n"
            "    def inner(*args, **kwargs): return function(*args, **kwargs)\n"
            "    return inner\n"
            "@hookimpl\n@timed\ndef after_ddl(conn, context): ...\n"
        )

        assert jam.faults == ()


class TestKindOfFunction:
    """A hook is called, not awaited."""

    @pytest.mark.parametrize("body", ["...", "yield"], ids=["coroutine", "async generator"])
    def test_async_def_is_refused(self, loaded, site, body):
        """Its body would never run."""
        jam = loaded(f"{HEAD}@hookimpl\nasync def after_ddl(conn, context): {body}\n")

        assert only_fault(jam).endswith(
            f"after_ddl() is async def, and nothing would await it ({site}/jam.py:3)"
        )

    def test_an_async_method_is_refused(self, loaded):
        """In an object as in a module."""
        jam = loaded(
            f"{HEAD}class Jam:\n    @hookimpl\n    async def after_ddl(self, conn): ...\nplugin = Jam()\n",
            entry="jam:plugin",
        )

        assert "after_ddl() is async def" in only_fault(jam)

    def test_a_wrapper_that_does_not_yield_is_refused(self, loaded):
        """pluggy would stop at it halfway through registering."""
        jam = loaded(f"{HEAD}@hookimpl(wrapper=True)\ndef after_ddl(conn): ...\n")

        assert "after_ddl() is marked as a wrapper and does not yield" in only_fault(jam)

    def test_an_old_style_hookwrapper_is_refused(self, loaded):
        """Only pluggy's new style, wrapper, takes part in the guard."""
        jam = loaded(f"{HEAD}@hookimpl(hookwrapper=True)\ndef after_ddl(conn): yield\n")

        assert "after_ddl() is marked hookwrapper, pluggy's old style; write wrapper=True" in only_fault(jam)


class TestObjects:
    """What an entry point must not resolve to."""

    def test_a_class_instead_of_an_instance_is_refused(self, loaded):
        """Its methods would be called without a self."""
        jam = loaded(
            f"{HEAD}class Jam:\n    @hookimpl\n    def after_ddl(self, conn): ...\n", entry="jam:Jam"
        )

        assert only_fault(jam).endswith(
            "jam:Jam is a class, not an instance; name an instance of it, plugin = Jam()"
        )

    @pytest.mark.parametrize("error", ["ValueError", "AttributeError", "SystemExit"])
    def test_a_raising_property_is_refused(self, loaded, error):
        """The plugin is not what it looks like."""
        jam = loaded(
            f"{HEAD}class Jam:\n"
            f"    @property\n    def lid(self): raise {error}('stuck')\n"
            "    @hookimpl\n    def after_ddl(self, conn): ...\n"
            "plugin = Jam()\n",
            entry="jam:plugin",
        )

        assert only_fault(jam) == (
            f"plugin 'jam' (jam-package 1.0): reading its attribute 'lid' raises {error}: stuck"
        )

    def test_an_object_that_cannot_be_listed_is_refused(self, loaded):
        """Its __dir__ raises."""
        jam = loaded("class Jam:\n    def __dir__(self): 1 / 0\nplugin = Jam()\n", entry="jam:plugin")

        assert "listing its attributes raises ZeroDivisionError: division by zero" in only_fault(jam)

    @pytest.mark.parametrize("keys", ["'target'", "3", "[1]"])
    def test_config_keys_that_are_not_names_are_refused(self, loaded, keys):
        """A lone string would be taken for letters."""
        jam = loaded(f"{HOOK}config_keys = {keys}\n")

        assert "config_keys must " in only_fault(jam)

    def test_a_plugin_that_fails_while_it_is_inspected_is_refused(self, loaded):
        """Whatever it raises, it is a sentence."""
        jam = loaded(f"{HOOK}config_keys = (1 / 0 for each in 'a')\n")

        assert only_fault(jam).endswith("inspecting jam failed with ZeroDivisionError: division by zero")


class TestSeveralAtOnce:
    """Every fault of every plugin in one message, exit code 2."""

    def test_every_fault_of_one_plugin_is_told(self, loaded):
        """Not one a run."""
        jam = loaded(
            f"{HEAD}@hookimpl\nasync def before_ddl(con, context=None): ...\n@hookimpl\ndef zzz(): ...\n"
        )

        told = "\n".join(jam.faults)
        assert len(jam.faults) == 4
        assert "'con'" in told
        assert "'context'" in told
        assert "async def" in told
        assert "zzz() is not a hook" in told

    def test_every_fault_of_every_plugin_is_in_one_message(self, fake_distribution, found_in):
        """With the way on beside it."""
        fake_distribution("apple", "import no_such_fruit\n")
        fake_distribution("fig", "fruit = 1\n")
        fake_distribution("plum", HOOK)

        with pytest.raises(PluginFault) as raised:
            load_all(select_plugins(found_in(), flag=ALL))

        assert raised.value.exit_code == 2
        assert raised.value.message.startswith("2 faults in the selected plugins:\n  plugin 'apple'")
        assert "\n  plugin 'fig' (fig-package 1.0): fig has no hooks" in raised.value.message
        assert "plum" not in raised.value.message
        assert "or run without plugins: --no-plugins" in str(raised.value.hint)

    def test_two_plugins_of_one_name_are_refused_with_both_packages(self, fake_distribution, found_in):
        """Neither shadows the other."""
        fake_distribution("jam", HOOK, distribution="mine", version="1.0")
        fake_distribution("jam", HOOK, distribution="theirs", version="2.0")

        with pytest.raises(PluginFault) as raised:
            load_all(select_plugins(found_in(), flag="jam"))

        assert raised.value.message == (
            "2 plugins are called 'jam': mine 1.0 (jam) and theirs 2.0 (jam); uninstall all but one"
        )

    def test_a_broken_plugin_that_is_not_used_stops_nothing(self, fake_distribution, found_in):
        """Nor is it imported."""
        fake_distribution("apple", "raise SystemExit\n")
        fake_distribution("plum", HOOK)

        plugins = load_all(select_plugins(found_in(), flag="plum"))

        assert [plugin.name for plugin in plugins] == ["plum"]

    def test_no_plugins_loads_nothing(self, fake_distribution, found_in):
        """``--no-plugins`` runs beside whatever is installed."""
        fake_distribution("apple", "raise SystemExit\n")

        chosen = select_plugins(found_in(), ["apple"], none=True)

        assert load_all(chosen) == ()
        assert [found_plugin.name for found_plugin in chosen.unused] == ["apple"]


class TestConfiguration:
    """CONTRACT, Plugins, *configuration*."""

    @pytest.fixture
    def chosen(self, fake_distribution, found_in) -> PluginSelection:
        """A plugin that declares its keys."""
        fake_distribution("jam", f"{HOOK}config_keys = {{'target': 'the read model', 'source': 'SQL'}}\n")
        return select_plugins(found_in(), flag="jam")

    def test_unknown_keys_are_errors_where_the_plugin_declares_its_keys(self, chosen):
        """The nearest is suggested, the value is not shown."""
        with pytest.raises(PluginFault) as raised:
            load_all(chosen, {"jam": {"targt": "secret"}})

        assert raised.value.message == ("unknown key 'targt' in plugin.jam; did you mean 'target'?")

    def test_declared_keys_and_the_runners_own_are_fine(self, chosen):
        """on_failure and retry are every plugin's."""
        table = {"target": "r", "source": "w", "on_failure": "continue", "retry": False}

        plugins = load_all(chosen, {"jam": table, "not-installed": {"x": 1}})

        assert plugins[0].config_keys == ("target", "source")

    def test_a_plugin_that_declares_nothing_reads_any_key(self, fake_distribution, found_in):
        """Unknown keys are errors where they are declared."""
        fake_distribution("jam", HOOK)

        plugins = load_all(select_plugins(found_in(), flag="jam"), {"jam": {"anything": 1}})

        assert plugins[0].config_keys is None

    @pytest.mark.parametrize(
        "table, wrong",
        [
            ({"on_failure": "contineu"}, 'plugin.jam.on_failure must be one of "abort", "continue"'),
            ({"on_failure": ["abort"]}, 'plugin.jam.on_failure must be one of "abort", "continue"'),
            ({"retry": "no"}, "plugin.jam.retry must be true or false, not a string"),
        ],
    )
    def test_the_runners_keys_are_checked_for_every_plugin(self, chosen, table, wrong):
        """A misspelt policy is not the default one."""
        with pytest.raises(PluginFault) as raised:
            load_all(chosen, {"jam": table})

        assert wrong in raised.value.message

    def test_faults_of_the_configuration_stand_beside_those_of_the_code(self, fake_distribution, found_in):
        """All of them at once."""
        fake_distribution("apple", "fruit = 1\n")
        fake_distribution("plum", f"{HOOK}config_keys = ('a',)\n")

        with pytest.raises(PluginFault) as raised:
            load_all(select_plugins(found_in(), flag=ALL), {"plum": {"b": 1}, "apple": {"retry": 1}})

        assert raised.value.message.startswith("3 faults")


def test_a_really_installed_package_is_found_and_loaded(install_plugin, monkeypatch, site, found_in):
    """Built by its backend, installed by pip, in a folder of its own."""
    folder = install_plugin("real-jam", f"{HOOK}# really\n", version="3.1")
    monkeypatch.syspath_prepend(str(folder))
    found = next(found_plugin for found_plugin in find_plugins() if found_plugin.name == "real-jam")

    plugin = load_plugin(found)

    assert (plugin.distribution, plugin.version) == ("real-jam-package", "3.1")
    assert plugin.phases == ("before_ddl",)
    assert plugin.faults == ()
