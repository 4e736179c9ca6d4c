"""A fleet's rehearsal tries a sample of the targets, says how long the whole takes, and leaves nothing behind."""

from __future__ import annotations

import pickle

import pytest

from confiture.cli.fleet_flags import build_policy
from confiture.config.fleet_settings import FleetSettings
from confiture.fleet.choose_sample import MOST_SAMPLED, choose_sample
from confiture.fleet.estimate_rollout import TargetForecast, compute_makespan_ms, interpolate_forecast
from confiture.fleet.policy import FleetPolicy
from confiture.fleet.rehearse_target import rehearse_target
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, hash_plan
from confiture.models.fleet_shape import TargetShape
from confiture.sources.read_migrations import read_migrations
from tests.project import tables

TENANTS = 6
REFERENCE = (
    "CREATE TABLE items (id int PRIMARY KEY);\nALTER TABLE orders ADD COLUMN item int REFERENCES items;\n"
)


@pytest.fixture
def fleet(project, database):
    """A project with six tenants of different sizes, of which the last has an index more than the others."""
    for number in range(TENANTS):
        rows = 1000 * number
        database.execute(
            f"CREATE SCHEMA tenant_{number}; CREATE TABLE tenant_{number}.orders (id int PRIMARY KEY);"
            f" INSERT INTO tenant_{number}.orders SELECT generate_series(1, {rows})"
        )
    database.execute("CREATE INDEX extra ON tenant_2.orders (id)")
    project.write("1_items.sql", REFERENCE)
    project.configure(
        f'[fleet]\nschemas = "tenant_*"\ncontrol = "{project.url}"\nstop_after = "100%"\nsoak = "2s"\n[gate]\nfail_on = "warning"\n'
    )
    return project


def test_a_rehearsal_tries_a_sample_shows_findings_once_and_leaves_nothing_behind(fleet, database):
    before = tables(database)

    answer = fleet("fleet", "run", "--dry-run", "--output", "json")

    report = answer.json
    why = {one["name"]: one["why"] for one in report["sample"]}
    rules = [one["rule"] for one in report["findings"]]
    low_ms, high_ms = report["rollout"]["interval90_ms"] or (4000.0, 1e9)
    assert answer.code == report["exit_code"] == 1, answer.err
    assert why == {
        "tenant_0": "smallest",
        "tenant_3": "median",
        "tenant_5": "largest",
        "tenant_2": "other schema",
    }
    assert {one["outcome"] for one in report["sample"]} == {"ok"}
    assert rules
    assert len(rules) == len(set(rules))
    assert all(len(one["targets"]) == 4 for one in report["findings"] if one["rule"] == rules[0])
    assert [group["targets"] for group in report["drift"]["schemas"][1:]] == [["tenant_2"]]
    assert report["drift"]["schemas"][1]["differences"] == ["index tenant.extra: added"]
    # Three waves, so two soak times.
    assert report["rollout"]["soak_ms"] == 4000
    assert 4000 <= low_ms <= report["rollout"]["at_rehearsed_times_ms"] <= high_ms
    assert tables(database) == before


def test_a_target_that_would_fail_is_named_before_the_run_and_not_in_the_estimate(fleet, database):
    database.execute("CREATE TABLE tenant_5.items (id text)")

    answer = fleet("fleet", "run", "--dry-run", "--output", "junit=run.xml")

    assert answer.code == 4
    assert 'relation "items" already exists' in answer.out
    assert "5 targets, 8 at a time, in 3 waves, without 1 target that will fail" in answer.out
    assert "nothing was changed or recorded" in answer.out
    assert 'failures="' in (fleet.folder / "run.xml").read_text()


def test_what_a_worker_found_can_be_sent_to_the_coordinator(fleet):
    """On a Dask cluster the work is done in other processes."""
    settings = fleet.settings()
    plan = hash_plan(read_migrations(settings))
    task = TargetTask(Target("a", fleet.url, "tenant_1"), fleet.settings(url=None), plan)

    name, report = rehearse_target(task)

    assert name == "a"
    assert report.outcome == "ok"
    assert pickle.loads(pickle.dumps(report)) == report


def make_shape(number: int, *, pending: tuple[str, ...] = ("1",), fingerprint: str = "a") -> TargetShape:
    """Return a target of this size."""
    return TargetShape(f"t{number}", fingerprint, (), "18.1", pending, number)


def test_the_sample_has_the_extremes_and_one_of_each_kind_up_to_a_limit():
    alike = [make_shape(number) for number in range(100)]
    other = make_shape(20, fingerprint="b")
    behind = make_shape(60, pending=("0", "1"))
    odd = [make_shape(number, fingerprint=str(number)) for number in range(1, 30)]

    few, left_of_few = choose_sample([*alike, other, behind])
    many, left_of_many = choose_sample([*alike, *odd])

    assert [(one.shape.size_bytes, one.why) for one in few] == [
        (0, "smallest"),
        (50, "median"),
        (99, "largest"),
        (20, "other schema"),
        (60, "other pending migrations"),
    ]
    assert left_of_few == 0
    assert len(many) == MOST_SAMPLED
    assert left_of_many == len(odd) - sum(one.shape in odd for one in many)
    assert choose_sample([make_shape(1, pending=())]) == ((), 0)


def test_a_wave_takes_as_long_as_its_hosts_and_workers_let_it():
    def limit(*, workers: int, connections_per_host: int = 24) -> FleetPolicy:
        settings = FleetSettings(workers=workers, connections_per_host=connections_per_host)
        return build_policy(settings)

    wave = [Target(str(number), f"host=h{number % 2} dbname=d{number}") for number in range(8)]

    free = compute_makespan_ms(wave, lambda _: 10.0, limit(workers=8))
    by_workers = compute_makespan_ms(wave, lambda _: 10.0, limit(workers=3))
    by_hosts = compute_makespan_ms(wave, lambda _: 10.0, limit(workers=8, connections_per_host=3))

    assert (free, by_workers, by_hosts) == (10.0, 30.0, 40.0)


def test_a_target_between_two_sizes_takes_a_time_between_theirs():
    points = {100: TargetForecast(1.0, 2.0, 4.0), 200: TargetForecast(3.0, 4.0, 8.0)}

    assert interpolate_forecast(points, 50) == points[100]
    assert interpolate_forecast(points, 150) == TargetForecast(2.0, 3.0, 6.0)
    # The tables in question may, or may not, grow with the whole.
    assert interpolate_forecast(points, 400) == TargetForecast(3.0, 8.0, 16.0)
