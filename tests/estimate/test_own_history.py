"""What real runs took is kept beside what was predicted, and predictions learn from it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from attrs import evolve

from confiture.api.operations import run
from confiture.estimate.own_history import (
    KeptMigration,
    KeptStatement,
    compute_calibration,
    learn_from_runs,
)
from confiture.estimate.prediction_document import build_document, parse_document
from confiture.estimate.prediction_store import PREDICTIONS_FILE, read_calibration
from confiture.estimate.prior import OwnHistory, load_shipped
from confiture.estimate.rehearse_sizes import Production
from tests.estimate.production import grow

pytestmark = pytest.mark.slow

INDEX = "CREATE INDEX by_customer ON orders (customer);"


def build_kept(actual_ms: float | None = 130.0, **changes: Any) -> KeptStatement:
    """Return a statement that was predicted to take 100 ms on a million orders."""
    known: dict[str, Any] = {
        "line": 1,
        "sql_sha256": "0" * 64,
        "relation": "public.orders",
        "rows": 1e6,
        "kind": "index",
        "p50_ms": 100.0,
        "interval50_ms": (80.0, 125.0),
        "interval90_ms": (60.0, 166.0),
        "actual_ms": actual_ms,
        "actual_rows": 1.1e6,
    }
    return KeptStatement(**(known | changes))


def build_migration(
    *statements: KeptStatement, version: str = "1", ran_at: str | None = "then"
) -> KeptMigration:
    return KeptMigration(version, "it", "c", "before", ran_at, statements)


def test_coverage_and_error_are_of_what_was_run():
    inside, outside = build_kept(110.0), build_kept(200.0)

    found = compute_calibration(
        [build_migration(inside, outside), build_migration(build_kept(None), version="2", ran_at=None)]
    )

    assert (found.migrations, found.waiting, found.predictions) == (1, 1, 2)
    assert (found.coverage50_percent, found.coverage90_percent) == (50, 50)
    assert found.median_error_percent == pytest.approx((100 * 10 / 110 + 50) / 2)


def test_what_ran_on_tables_of_another_size_does_not_count():
    found = compute_calibration(
        [build_migration(build_kept(1.0, actual_rows=1000.0), build_kept(1.0, actual_rows=None))]
    )

    assert (found.predictions, found.elsewhere, found.coverage90_percent) == (0, 2, None)


def test_bounds_count_by_themselves():
    bound = build_kept(3.0, relation=None, rows=None, kind=None, p50_ms=None, interval50_ms=None)

    found = compute_calibration([build_migration(evolve(bound, interval90_ms=(0.0, 4.0)))])

    assert (found.predictions, found.bounds, found.bounds_kept_percent) == (0, 1, 100)


def test_one_run_moves_predictions_a_little_and_many_move_them_far():
    slow = [build_migration(build_kept(200.0), version=str(number)) for number in range(40)]

    once, often = learn_from_runs(slow[:1]), learn_from_runs(slow)

    assert 0 < once.shift < 0.1
    assert often.shift == pytest.approx(0.8 * math.log(2))


def test_runs_that_are_as_predicted_sharpen_the_intervals():
    exact = [build_migration(build_kept(100.0), version=str(number)) for number in range(40)]

    assert learn_from_runs(exact).spread < 0.6
    assert learn_from_runs([]) == OwnHistory()


def test_what_is_learned_is_not_learned_again_from_predictions_that_know_it():
    knowing = build_kept(200.0, own=OwnHistory(math.log(2), 1.0, 9))

    assert learn_from_runs([build_migration(knowing)]).shift == pytest.approx(2 * math.log(2) / 11)


def test_what_is_learned_shifts_and_stretches_the_law():
    prior = load_shipped()
    regime = next(iter(prior.groups))

    law: Any = prior.find_law("index", regime, 10, 50.0)
    own: Any = evolve(prior, own=OwnHistory(0.5, 2.0, 3)).find_law("index", regime, 10, 50.0)

    assert own.median == pytest.approx(law.median + 0.5)
    # Not quite twice: fewer doubts about the machine remain.
    assert 1.8 * math.log(law.width) < math.log(own.width) < 2 * math.log(law.width)


def test_a_file_holds_what_was_kept():
    everything = (build_migration(build_kept(own=OwnHistory(0.1, 0.9, 2))),)

    assert parse_document(json.loads(json.dumps(build_document(everything)))) == everything


@pytest.mark.parametrize(
    "changes",
    [
        {"actual_ms": "fast"},
        {"actual_ms": math.nan},
        {"actual_ms": 10**20},
        {"interval90_ms": [5.0]},
        {"interval90_ms": [5.0, 1.0]},
        {"interval90_ms": None},
        {"rows": 0},
        {"own": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_damaged_migration_is_not_counted_and_stops_nothing(project, changes):
    document = build_document([build_migration(build_kept()), build_migration(build_kept())])
    document["migrations"][0]["statements"][0].update(changes)
    file = project.folder / PREDICTIONS_FILE
    file.parent.mkdir()
    file.write_text(json.dumps(document))

    done = project("estimates")

    assert done.code == 0, done.err
    assert "1 migration predicted and run" in done.out
    assert "1 stored migration not counted: damaged" in done.out


def test_a_run_is_kept_beside_its_prediction(project, settings, here, orders):
    project.write("1_it.sql", f"{INDEX}\nALTER TABLE orders ADD secret text DEFAULT 'hush-hush';")
    run(settings, dry_run=True, production=Production(grow(here, 1)))

    run(settings)

    found = read_calibration(settings)
    assert (found.migrations, found.waiting, found.predictions, found.bounds) == (1, 0, 1, 1)
    assert found.statements[0].actual_ms > 0
    assert "hush" not in (project.folder / PREDICTIONS_FILE).read_text()


def test_a_run_elsewhere_does_not_count(project, settings, here):
    project.write("1_it.sql", INDEX)
    run(settings, dry_run=True, production=Production(grow(here, 50)))

    run(settings)

    found = read_calibration(settings)
    assert (found.predictions, found.elsewhere) == (0, 1)


def test_a_migration_that_was_changed_since_is_another(project, settings, here):
    project.write("1_it.sql", INDEX)
    run(settings, dry_run=True, production=Production(grow(here, 1)))
    project.write("1_it.sql", f"-- changed\n{INDEX}")

    run(settings)

    assert read_calibration(settings).migrations == 0


def test_a_rehearsal_keeps_nothing_in_the_database(project, settings, here, orders):
    project.write("1_it.sql", INDEX)

    run(settings, dry_run=True, production=Production(grow(here, 10)))

    assert orders.execute("SELECT to_regnamespace('confiture')").fetchone() == (None,)


def test_a_file_that_is_not_as_it_was_written_stops_no_run(project, settings, here):
    (project.folder / PREDICTIONS_FILE).parent.mkdir()
    (project.folder / PREDICTIONS_FILE).write_text("{}")
    project.write("1_it.sql", INDEX)

    report = run(settings, dry_run=True, production=Production(grow(here, 10)))

    assert any("estimates.json cannot be read" in note for note in report.notes)
    assert run(settings).outcome == "ok"
    assert (project.folder / PREDICTIONS_FILE).read_text() == "{}"
    answer = project("estimates")
    assert answer.code == 2
    assert "Traceback" not in answer.err


def test_the_command_shows_the_figures(project, settings, here):
    empty = project("estimates")
    project.write("1_it.sql", INDEX)
    run(settings, dry_run=True, production=Production(grow(here, 1)))
    run(settings)

    words = project("estimates")
    figures = json.loads(project("estimates", "--output", "json").out)

    assert "run yet" in empty.out
    assert "1 interval:" in words.out
    assert figures["predictions"] == 1
    assert figures["statements"][0]["relation"] == "public.orders"
