"""A plugin adds the versions of objects to ``schema-version``."""

from __future__ import annotations

import pytest

VERSIONS = """
from confiture import hookimpl
from confiture.models.schema import ObjectChange, ObjectVersion

config_keys = ["sweet"]


@hookimpl
def object_versions(conn, config):
    if not config.get("sweet"):
        return None
    (count,) = conn.execute("SELECT count(*) FROM jam").fetchone()
    changes = (ObjectChange("ALTER", "added\\x1b sugar", "2026-01-02", "cook"), ObjectChange("CREATE"))
    return [ObjectVersion("public.jam", f"1.{count}.0", changes), ObjectVersion("public.fig", None),
        ObjectVersion("confiture.ledger", "1.0.0")]
"""


@pytest.fixture
def shop(project, database):
    """A table, and a plugin that knows its version."""
    database.execute("CREATE TABLE jam (id int)")
    project.install("sweet", VERSIONS)
    (project.folder / "confiture.toml").write_text('plugins = ["sweet"]\n[plugin.sweet]\nsweet = true\n')
    return project


def test_versions_and_changes_follow_the_fingerprint(shop):
    answer = shop("schema-version")

    fingerprint, *lines = answer.out.splitlines()
    assert (answer.code, len(fingerprint)) == (0, 64)
    assert lines == [
        "public.jam  1.0.0",
        "    2026-01-02  ALTER  by cook: added\\x1b sugar",
        "    CREATE",
        "public.fig  no version",
    ]


def test_the_json_has_them_as_objects(shop):
    document = shop("schema-version", "--output", "json").json

    assert document["objects"] == [
        {
            "identity": "public.jam",
            "version": "1.0.0",
            "changes": [
                {"kind": "ALTER", "description": "added\x1b sugar", "at": "2026-01-02", "by": "cook"},
                {"kind": "CREATE", "description": None, "at": None, "by": None},
            ],
        },
        {"identity": "public.fig", "version": None, "changes": []},
    ]


@pytest.mark.parametrize("text", ['plugins = ["sweet"]\n', "[plugin.sweet]\nsweet = true\n"])
def test_without_the_plugin_or_its_setting_there_are_none(shop, text):
    (shop.folder / "confiture.toml").write_text(text)

    answer = shop("schema-version")

    assert len(answer.out.splitlines()) == 1


def test_a_plugin_that_fails_is_a_warning(shop, database):
    database.execute("DROP TABLE jam")

    answer = shop("schema-version")

    assert answer.code == 0
    assert len(answer.out.splitlines()) == 1
    assert answer.err.startswith("warning: plugin 'sweet': no versions of objects: UndefinedTable: ")


def test_what_a_plugin_writes_is_rolled_back(shop):
    (shop.folder / "confiture.toml").write_text('plugins = ["bad", "sweet"]\n[plugin.sweet]\nsweet = true\n')
    shop.install(
        "bad",
        "from confiture import hookimpl\n@hookimpl\ndef object_versions(conn):\n"
        "    conn.execute('DROP TABLE jam')\n    return []\n",
    )

    answer = shop("schema-version")

    assert "public.jam  1.0.0" in answer.out


@pytest.mark.parametrize("given", ["ObjectVersion('jam', 7)", "ObjectVersion('jam', '7', [ObjectChange(1)])"])
def test_a_version_that_is_no_text_is_a_warning(shop, given):
    shop.install(
        "bitter",
        "from confiture import hookimpl\nfrom confiture.models.schema import ObjectChange, ObjectVersion\n"
        f"@hookimpl\ndef object_versions():\n    return [{given}]\n",
    )
    (shop.folder / "confiture.toml").write_text('plugins = ["bitter"]\n')

    answer = shop("schema-version")

    assert answer.code == 0
    assert "plugin 'bitter': no versions of objects: TypeError: " in answer.err


def test_a_value_of_another_kind_is_a_warning(shop):
    shop.install(
        "bitter", "from confiture import hookimpl\n@hookimpl\ndef object_versions():\n    return [1]\n"
    )
    (shop.folder / "confiture.toml").write_text('plugins = ["bitter"]\n')

    answer = shop("schema-version")

    assert answer.code == 0
    assert (
        "plugin 'bitter': no versions of objects: TypeError: object_versions() returned a int" in answer.err
    )
