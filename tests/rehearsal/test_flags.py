"""``--in`` and ``--sample`` as they are typed."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("words", [("dry-run",), ("run", "--dry-run")])
def test_a_clone_is_asked_for_by_name(project, sql, words):
    sql("CREATE TABLE jam (fruit text)")
    project.write(
        "1_it.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);"
    )

    done = project(*words, "--in", "clone", "--output", "json")

    assert done.code == 0, done.err
    (migration,) = json.loads(done.out)["migrations"]
    assert migration["outcome"] == "rehearsed"
    assert migration["index_builds"] == [{"index": "public.jam_fruit", "table": "public.jam", "new": True}]


def test_the_report_on_the_screen_says_where_it_was(project):
    project.write("1_it.sql", "SELECT 1;")

    done = project("dry-run", "--in", "clone")

    assert "rehearsed in a clone of" in done.out


def test_an_embedded_copy_takes_a_sample(project, sql):
    sql("CREATE TABLE jam (id int PRIMARY KEY)", "INSERT INTO jam SELECT generate_series(1, 50)", "ANALYZE")
    project.write("1_it.sql", "DELETE FROM jam;")

    done = project("dry-run", "--in", "embedded", "--sample", "7", "--output", "json")

    assert done.code == 0, done.err
    assert json.loads(done.out)["migrations"][0]["rows_affected"] == 7


def test_somebody_connected_ends_in_code_6(project, database):
    project.write("1_it.sql", "SELECT 1;")

    done = project("dry-run", "--in", "clone")

    assert done.code == 6
    assert "--in embedded" in done.err
    assert "Traceback" not in done.err


def test_a_role_statement_ends_in_code_4_with_its_place(project):
    project.write("1_it.sql", "SELECT 1;\nCREATE ROLE jam;")

    done = project("dry-run", "--in", "clone")

    assert done.code == 4
    assert "1_it.sql:2" in done.err
    assert "CREATE ROLE changes the whole server" in done.err


@pytest.mark.parametrize(
    "words, said",
    [
        (("run", "--in", "clone"), "--in is for a rehearsal"),
        (("run", "--sample", "5"), "--sample is for a rehearsal"),
        (("dry-run", "--sample", "5"), "add --in embedded"),
        (("dry-run", "--in", "clone", "--sample", "5"), "add --in embedded"),
        (("dry-run", "--in", "embedded", "--sample", "0"), "--sample"),
        (("dry-run", "--in", "heaven"), "heaven"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(project, words, said):
    done = project(*words)

    assert done.code == 2
    assert said in done.err
