"""Which targets differ from most others in their schema, their extensions or their server."""

from __future__ import annotations

import psycopg
import pytest

from confiture.fleet.compare_targets import group_shapes
from confiture.models.fleet_shape import TargetShape

VIEW = """
    CREATE SCHEMA {0};
    CREATE TYPE {0}.state AS ENUM ('open', 'paid');
    CREATE TABLE {0}.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state {0}.state);
    CREATE VIEW {0}.paid AS SELECT id FROM {0}.orders WHERE state = 'paid';
    CREATE FUNCTION {0}.pay(which int) RETURNS void LANGUAGE sql SET search_path = {0}
        AS $$UPDATE {0}.orders SET state = 'paid' WHERE id = which$$;
    COMMENT ON TABLE {0}.orders IS 'What was ordered';
"""
ODD = '"tenant_c \\ (odd).*"'


@pytest.fixture
def fleet(project, database):
    """A project with three tenants that are alike, although everything in them is named by their schema."""
    for name in ("tenant_a", "tenant_b", ODD):
        database.execute(VIEW.format(name).encode())
    project.configure('[fleet]\nschemas = "tenant_*"\n')
    return project


def test_tenants_that_are_alike_have_one_fingerprint_whatever_their_names_are(fleet):
    answer = fleet("fleet", "status", "--drift", "--output", "json")

    assert answer.code == 0, answer.err
    assert [len(group["targets"]) for group in answer.json["schemas"]] == [3]
    assert answer.json["deviants"] == []
    assert answer.json["extensions"][0]["extensions"] == "plpgsql 1.0"


def test_a_tenant_that_differs_is_named_with_the_objects_that_differ(fleet, database):
    database.execute("CREATE INDEX by_state ON tenant_b.orders (state); DROP VIEW tenant_b.paid")

    answer = fleet("fleet", "status", "--drift")

    assert answer.code == 0, answer.err
    assert "tenant_b: index tenant.by_state: added, view tenant.paid: removed" in answer.out
    assert "3 targets: 1 differs from most" in answer.out


def test_databases_differ_in_extensions_too_and_one_that_cannot_be_read_is_named(
    project, database, server, alone
):
    with psycopg.connect(alone, autocommit=True) as conn:
        conn.execute("DROP EXTENSION plpgsql")
    targets = f"name,url\na,{project.url}\nb,{alone}\ngone,{server.conninfo('absent')}\n"
    (project.folder / "targets.csv").write_text(targets)

    answer = project("fleet", "status", "--drift", "--targets", "targets.csv", "--output", "json")

    assert answer.code == 0, answer.err
    assert answer.json["deviants"] == ["b"]
    assert [group["targets"] for group in answer.json["servers"]] == [["a", "b"]]
    assert [group["extensions"] for group in answer.json["extensions"]] == ["plpgsql 1.0", "none"]
    assert [one["name"] for one in answer.json["unread"]] == ["gone"]
    assert '"absent" does not exist' in answer.json["unread"][0]["reason"]


def test_the_most_frequent_value_comes_first_and_of_equally_frequent_ones_the_first():
    shapes = [TargetShape(name, value, (), "18.1") for name, value in (("a", "x"), ("b", "y"), ("c", "y"))]

    drift = group_shapes([*shapes, TargetShape("d", "z", ("cube 1.5",), "17.2")])

    assert [(group.value, group.targets) for group in drift.schemas] == [
        ("y", ("b", "c")),
        ("x", ("a",)),
        ("z", ("d",)),
    ]
    assert [group.value for group in drift.servers] == ["PostgreSQL 18.1", "PostgreSQL 17.2"]
    assert drift.deviants == {"a", "d"}
