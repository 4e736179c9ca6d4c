"""The file of an export is read back; what is wrong in one is named."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from confiture.estimate.statistics import describe_age
from confiture.estimate.statistics_file import StatisticsFault, load_statistics


def write_document(tmp_path, document):
    """Write a document as a file."""
    path = tmp_path / "production.json"
    path.write_text(json.dumps(document))
    return path


def test_what_was_written_is_read_back(tmp_path, document, statistics):
    assert load_statistics(write_document(tmp_path, document)) == statistics


def test_a_file_of_an_earlier_version_does_not_say_which_pages_are_visible(tmp_path, document):
    for relation in document["relations"]:
        del relation["visible_pages"]

    loaded = load_statistics(write_document(tmp_path, document))

    assert {relation.visible_pages for relation in loaded.relations.values()} == {None}


def _remove(key):
    return lambda document: document.pop(key)


def _relation(**changes):
    return lambda document: document["relations"][0].update(changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (_remove("settings"), "settings", "is missing"),
        (_remove("stats_version"), "stats_version", "is missing"),
        (lambda document: document.update(stats_version=2), "stats_version", "reads version 1"),
        (lambda document: document.update(taken_at="yesterday"), "taken_at", "must be a time"),
        (lambda document: document.update(relations={}), "relations", "must be a list"),
        (_relation(rows="many"), "relations[0].rows", "must be a number"),
        (_relation(rows=-1), "relations[0].rows", "cannot be -1"),
        (_relation(rows=float("nan")), "relations[0].rows", "cannot be nan"),
        (_relation(pages=True), "relations[0].pages", "must be a whole number"),
        (_relation(kind="heap"), "relations[0].kind", "must be one of"),
        (_relation(row=5), "relations[0].row", "no such key"),
        (_relation(parent="public.nobody"), "relations[0].parent", "no relation public.nobody"),
        (_relation(triggers=[{"name": "t"}]), "relations[0].triggers[0].events", "is missing"),
        (
            lambda document: document["relations"].append(document["relations"][0]),
            "relations[7].name",
            "appears twice",
        ),
        (
            lambda document: document["transactions"].update(ages_s=[1, "x"]),
            "transactions.ages_s[1]",
            "number",
        ),
        (lambda document: document["settings"].update(work_mem=None), "settings.work_mem", "must be"),
        (lambda document: document["settings"].update(work_mem="64MB"), "settings.work_mem", "a number"),
        (
            lambda document: document["settings"].update(seq_page_cost=float("inf")),
            "settings.seq_page_cost",
            "cannot be inf",
        ),
    ],
)
def test_what_was_edited_by_hand_is_named_with_its_place(tmp_path, document, change, key, words):
    change(document)

    with pytest.raises(StatisticsFault, match=words) as raised:
        load_statistics(write_document(tmp_path, document))

    assert raised.value.key == key
    assert "production.json" in raised.value.message
    assert "export" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b'{"stats_version": 1', "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "must be an object"),
        (b"[" * 100_000, "JSON|too deep"),
    ],
)
def test_a_broken_file_is_said_to_be_one(tmp_path, content, words):
    path = tmp_path / "production.json"
    path.write_bytes(content)

    with pytest.raises(StatisticsFault, match=words):
        load_statistics(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(StatisticsFault, match="cannot be read"):
        load_statistics(tmp_path / "nowhere.json")


def test_an_old_file_says_how_old_it_is(statistics):
    now = datetime.now(UTC)

    assert describe_age(statistics, "production.json", now) is None
    assert "is 43 days old" in str(describe_age(statistics, "production.json", now + timedelta(days=43)))
