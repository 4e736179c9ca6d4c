"""Flags, environment and configuration file become settings, or a fault that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from confiture.config.settings import Given, Settings, load_settings, mask_password
from confiture.exceptions import ConfigurationFault, UsageFault

SECRET = "s3cr3t-jam"


def settings_of(folder: Path, text: str, *, environ: dict[str, str] | None = None, **flags) -> Settings:
    (folder / "confiture.toml").write_text(text)
    return load_settings(Given(**flags), cwd=folder, environ=environ or {})


def fault_of(
    folder: Path, text: str, *, environ: dict[str, str] | None = None, **flags
) -> ConfigurationFault:
    with pytest.raises(ConfigurationFault) as caught:
        settings_of(folder, text, environ=environ, **flags)
    return caught.value


def test_without_any_file_the_defaults_hold(tmp_path):
    settings = load_settings(cwd=tmp_path, environ={})

    assert settings == Settings(root=tmp_path, migrations=tmp_path / "migrations")


def test_pyproject_and_confiture_toml_say_the_same(tmp_path):
    own, project = tmp_path / "own", tmp_path / "project"
    own.mkdir()
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.confiture]\nschema = "jam"\nplugins = ["a", "b==1.2"]\n')

    there = load_settings(cwd=project, environ={})
    here = settings_of(own, 'schema = "jam"\nplugins = ["a", "b==1.2"]\n')

    assert (there.schema, there.plugins) == (here.schema, here.plugins) == ("jam", ("a", "b==1.2"))


def test_the_file_of_a_folder_above_is_found_and_its_paths_start_there(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "confiture.toml").write_text('migrations = "db"\n')

    settings = load_settings(cwd=below, environ={})

    assert settings.root == tmp_path
    assert settings.migrations == tmp_path / "db"


def test_the_search_ends_at_the_repository(tmp_path):
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    (tmp_path / "confiture.toml").write_text('schema = "outside"\n')

    assert load_settings(cwd=repository, environ={}).file is None


def test_a_pyproject_of_somebody_else_is_passed_over_even_when_it_is_broken(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    (below / "pyproject.toml").write_text("[tool.other\n")
    (tmp_path / "confiture.toml").write_text('schema = "jam"\n')

    assert load_settings(cwd=below, environ={}).schema == "jam"


def test_two_configurations_in_one_folder_are_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.confiture]\n")

    fault = fault_of(tmp_path, "")

    assert "two configurations" in fault.message
    assert fault.exit_code == 2


def test_migrations_from_the_flag_are_relative_to_the_working_directory(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "confiture.toml").write_text('migrations = "db"\n')

    settings = load_settings(Given(migrations="mine"), cwd=below, environ={})

    assert settings.migrations == below / "mine"


@pytest.mark.parametrize(
    "flag, environ, expected",
    [
        ("postgresql:///flag", {"CONFITURE_DATABASE_URL": "postgresql:///c"}, "postgresql:///flag"),
        (
            None,
            {"CONFITURE_DATABASE_URL": "postgresql:///c", "DATABASE_URL": "postgresql:///d"},
            "postgresql:///c",
        ),
        (None, {"CONFITURE_DATABASE_URL": "", "DATABASE_URL": "postgresql:///d"}, "postgresql:///d"),
        (None, {}, "postgresql:///file"),
    ],
)
def test_the_url_comes_from_flag_then_environment_then_file(tmp_path, flag, environ, expected):
    settings = settings_of(tmp_path, 'url = "postgresql:///file"\n', environ=environ, url=flag)

    assert settings.url == expected


def test_without_a_url_anywhere_libpq_decides(tmp_path):
    assert settings_of(tmp_path, "").url is None


def test_variables_in_url_and_direct_url_are_expanded(tmp_path):
    text = 'url = "postgresql://me:${PW}@h/db"\ndirect_url = "postgresql://me:${PW}@direct/db"\n'

    settings = settings_of(tmp_path, text, environ={"PW": SECRET})

    assert settings.url == f"postgresql://me:{SECRET}@h/db"
    assert settings.direct_url == f"postgresql://me:{SECRET}@direct/db"


def test_a_missing_variable_is_named_with_its_line_and_nothing_else_of_the_url(tmp_path):
    fault = fault_of(tmp_path, f'schema = "jam"\nurl = "postgresql://me:{SECRET}@${{HOST}}/db"\n')

    assert "confiture.toml:2" in fault.message
    assert "HOST is not set" in fault.message
    assert SECRET not in f"{fault.message} {fault.hint}"


def test_an_open_brace_in_the_url_is_an_error(tmp_path):
    assert "${" in fault_of(tmp_path, 'url = "postgresql://${HOST/db"\n').message


def test_a_variable_that_is_not_needed_may_be_missing(tmp_path):
    settings = settings_of(tmp_path, 'url = "${PROD}"\n', url="postgresql:///flag")

    assert settings.url == "postgresql:///flag"


@pytest.mark.parametrize(
    "flag, environ", [("postgresql:///x", {}), (None, {"DATABASE_URL": "postgresql:///x"})]
)
def test_the_direct_url_goes_with_the_url_of_the_file_only(tmp_path, flag, environ):
    text = 'url = "postgresql:///prod"\ndirect_url = "postgresql:///direct"\n'

    assert settings_of(tmp_path, text, environ=environ, url=flag).direct_url is None
    assert settings_of(tmp_path, text).direct_url == "postgresql:///direct"


def test_a_direct_url_stays_where_file_and_environment_name_the_same_database(tmp_path):
    text = 'url = "${DATABASE_URL}"\ndirect_url = "postgresql:///direct"\n'

    settings = settings_of(tmp_path, text, environ={"DATABASE_URL": "postgresql:///pooled"})

    assert (settings.url, settings.direct_url) == ("postgresql:///pooled", "postgresql:///direct")


def test_an_environment_overrides_every_key_and_keeps_the_rest(tmp_path):
    text = """
        schema = "jam"
        lock_timeout = "5s"
        direct_url = "postgresql:///direct"
        [plugin.backfill]
        on_failure = "abort"
        rows = 5
        [env.staging]
        url = "postgresql:///staging"
        lock_timeout = "250ms"
        [env.staging.plugin.backfill]
        rows = 7
    """

    settings = settings_of(tmp_path, text, env="staging")

    assert settings.schema == "jam"
    assert settings.lock_timeout == "250ms"
    assert settings.plugin_tables == {"backfill": {"on_failure": "abort", "rows": 7}}
    assert (settings.url, settings.direct_url) == ("postgresql:///staging", None)


def test_an_unknown_environment_names_the_known_ones(tmp_path):
    (tmp_path / "confiture.toml").write_text("[env.staging]\n[env.prod]\n")

    with pytest.raises(UsageFault, match=r"no \[env\.stagging\]; it has staging, prod"):
        load_settings(Given(env="stagging"), cwd=tmp_path, environ={})


def test_an_environment_without_a_file_says_how_to_write_one(tmp_path):
    with pytest.raises(UsageFault, match="no configuration file") as caught:
        load_settings(Given(env="prod"), cwd=tmp_path, environ={})

    assert "confiture init" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text, place, nearest",
    [
        ('schema = "a"\nmigratoins = "x"\n', "confiture.toml:2", "migrations"),
        ("[env.prod]\nlock_timeuot = 5\n", "confiture.toml:2", "lock_timeout"),
        ("\n[plugins.backfill]\n", "confiture.toml:2", None),
        ("\n\n[plugn.x]\n", "confiture.toml:3", "plugin"),
    ],
)
def test_an_unknown_or_misplaced_key_is_named_with_its_line(tmp_path, text, place, nearest):
    fault = fault_of(tmp_path, text)

    assert fault.message.startswith(place)
    assert nearest is None or f"did you mean {nearest!r}" in (fault.hint or "")


def test_the_line_of_a_key_in_pyproject_is_the_one_in_our_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.other]\nurll = 1\n[tool.confiture]\nurll = "x"\n')

    with pytest.raises(ConfigurationFault, match=r"pyproject\.toml:4: unknown key 'urll'"):
        load_settings(cwd=tmp_path, environ={})


@pytest.mark.parametrize(
    "text",
    [
        "url = 5",
        'url = ""',
        "migrations = []",
        "schema = true",
        f'schema = "{"j" * 64}"',
        'plugins = "backfill"',
        "plugins = [5]",
        'plugins = [""]',
        'lock_timeout = "5 seconds"',
        "lock_timeout = -5",
        "lock_timeout = 5",
        "lock_wait = 0.5",
        'wait_concurrently = "5"',
        'env.prod.statement_timeout = "100us"',
        "lock_timeout = true",
        'statement_timeout = "25d"',
        'lock_wait = "soon"',
        "lock_wait = nan",
        "lock_retries = -1",
        "lock_retries = 1.5",
        "lock_retries = true",
        'allow_out_of_order = "yes"',
        "wait_concurrently = []",
        "direct_url = 1",
        "plugin = 1",
        "plugin.backfill = 1",
        "env = 1",
        "env.prod = 1",
        "[env.prod.env.x]",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_line(tmp_path, text):
    fault = fault_of(tmp_path, f"{text}\n")

    assert fault.message.startswith("confiture.toml:1: ")
    assert fault.exit_code == 2


def test_a_value_is_never_shown_for_it_may_be_a_password(tmp_path):
    fault = fault_of(tmp_path, f'url = ["{SECRET}"]\n')

    assert SECRET not in fault.message


@pytest.mark.parametrize(
    "text, lock_wait_s, lock_timeout",
    [
        ("", 30.0, "5s"),
        ('lock_wait = "12s"\nlock_timeout = "250ms"', 12.0, "250ms"),
        ('lock_wait = "2min"\nlock_timeout = 0', 120.0, "0"),
        ('lock_wait = "500 ms"\nlock_timeout = "10min"', 0.5, "10min"),
    ],
)
def test_times_are_written_as_postgresql_writes_them(tmp_path, text, lock_wait_s, lock_timeout):
    settings = settings_of(tmp_path, text)

    assert (settings.lock_wait_s, settings.lock_timeout) == (lock_wait_s, lock_timeout)


def test_flags_go_before_the_file(tmp_path):
    text = 'lock_wait = "5s"\nwait_concurrently = "1s"\nallow_out_of_order = false\n'

    settings = settings_of(
        tmp_path, text, lock_wait_s=9.0, wait_concurrently="2s", allow_out_of_order=True, wait_s=3.0
    )

    assert (settings.lock_wait_s, settings.wait_concurrently) == (9.0, "2s")
    assert (settings.allow_out_of_order, settings.wait_s) == (True, 3.0)


def test_broken_toml_names_line_and_column(tmp_path):
    assert fault_of(tmp_path, 'schema = "a"\nurl = \n').message.startswith("confiture.toml:2:")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "confiture.toml").write_bytes(b'schema = "\xff"\n')

    with pytest.raises(ConfigurationFault, match="not UTF-8"):
        load_settings(cwd=tmp_path, environ={})


def test_a_configuration_that_is_a_folder_cannot_be_read(tmp_path):
    (tmp_path / "confiture.toml").mkdir()

    with pytest.raises(ConfigurationFault, match="cannot be read"):
        load_settings(cwd=tmp_path, environ={})


@pytest.mark.parametrize("flag", [{"url": " "}, {"migrations": ""}])
def test_an_empty_flag_is_an_error(tmp_path, flag):
    with pytest.raises(UsageFault, match="is empty"):
        load_settings(Given(**flag), cwd=tmp_path, environ={})


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host:5432/db",
        f"postgresql://me:{SECRET}@a,b:1/db",
        f"postgres://me:p@{SECRET}/x@host/db",
        f"postgres://me:a?{SECRET}@host/db",
        f"postgresql://me:{SECRET}",
        f"postgresql://host/db?user=me&password={SECRET}",
        f"postgresql://host/db?pass%77ord={SECRET}&sslmode=require",
        f"postgresql://host/db?sslpassword={SECRET}",
        f"postgresql+psycopg://me:{SECRET}@host/db",
        f"host=h password={SECRET} dbname=d",
        f"host=h password = 'a b \\' {SECRET}' dbname=d",
        f"password='unclosed {SECRET}",
        f"password=a\\ {SECRET}",
        f"postgresql:/me:{SECRET}@host/db",
    ],
)
def test_a_password_is_never_shown(url):
    shown = mask_password(url)

    assert SECRET not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "url",
    ["embedded:", "postgresql:///db?host=/run/x", "postgresql://me@host:5432/db", "host=h dbname=d user=me"],
)
def test_a_url_without_a_password_is_shown_as_it_is(url):
    assert mask_password(url) == url


def test_settings_in_an_error_message_hide_the_password(tmp_path):
    url = f"postgresql://me:{SECRET}@h/db"
    settings = Settings(root=tmp_path, url=url, direct_url=url)

    assert SECRET not in repr(settings)
    assert SECRET not in repr(Given(url=url))
