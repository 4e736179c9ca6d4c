"""A fleet of tenant schemas is migrated in waves, and a run can be stopped and gone on with."""

from __future__ import annotations

import json

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.project import tables

pytestmark = pytest.mark.slow

ORDERS = "CREATE TABLE orders (id int);\n"


@pytest.fixture
def fleet(project, database):
    """A project with six tenant schemas, whose record is kept in the same database."""
    for number in range(6):
        database.execute(f"CREATE SCHEMA tenant_{number}")
    project.write("1_orders.sql", ORDERS)
    project.configure(f'[fleet]\nschemas = "tenant_*"\ncontrol = "{project.url}"\n')
    return project


def states(answer) -> list[str]:
    """Return the state of each target of a run, in order."""
    return [target["state"] for target in answer.json["targets"]]


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_every_tenant_gets_the_same_and_its_own_ledger(fleet, database, executor):
    answer = fleet("fleet", "run", "--executor", executor, "--output", "json")

    assert answer.code == 0, answer.err
    assert states(answer) == ["done"] * 6
    assert {f"tenant_{number}.orders" for number in range(6)} <= set(tables(database))
    assert {f"confiture_tenant_{number}.ledger" for number in range(6)} <= set(tables(database))


def test_a_second_run_has_nothing_to_do(fleet):
    fleet("fleet", "run")

    answer = fleet("fleet", "run", "--output", "json")
    rehearsal = fleet("fleet", "run", "--dry-run")

    assert states(answer) == ["unchanged"] * 6
    assert rehearsal.code == 0
    assert "6 targets: nothing to do on any of them" in rehearsal.out


def test_the_first_failure_stops_the_run_and_resume_goes_on(fleet, database):
    database.execute("CREATE TABLE tenant_0.orders (id text)")
    stopped = fleet("fleet", "run", "--output", "json")
    database.execute("DROP TABLE tenant_0.orders")

    resumed = fleet("fleet", "run", "--resume", "1", "--retry-failed", "--output", "json")

    assert stopped.code == 4
    assert stopped.json["state"] == "stopped"
    assert states(stopped) == ["failed", *["waiting"] * 5]
    assert 'relation "orders" already exists' in stopped.json["targets"][0]["error"]
    assert resumed.code == 0, resumed.err
    assert states(resumed) == ["done"] * 6
    assert [target["attempts"] for target in resumed.json["targets"]] == [2, 1, 1, 1, 1, 1]


def test_failures_below_the_limit_do_not_stop_the_others(fleet, database):
    database.execute("CREATE TABLE tenant_3.orders (id text)")

    answer = fleet("fleet", "run", "--stop-after", "20%", "--output", "json")

    assert answer.code == 4
    assert answer.json["state"] == "done"
    assert states(answer).count("done") == 5
    assert "public.orders" not in tables(database)


def test_files_that_changed_since_the_run_began_are_refused(fleet, database):
    database.execute("CREATE TABLE tenant_0.orders (id text)")
    fleet("fleet", "run")
    fleet.write("1_orders.sql", "CREATE TABLE orders (id bigint);\n")

    answer = fleet("fleet", "run", "--resume", "1", "--retry-failed")

    assert answer.code == 7
    assert "the migrations have changed since fleet run 1 began" in answer.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,url\na,postgresql://h/x\na,postgresql://h/y\n", "the target a is listed twice"),
        ("name,url\na,postgresql://h/x\nb,host=h dbname=x\n", "a and b are two names for one database"),
        ("name\na\n", "no columns name and url"),
        ("name,url\n", "lists no target"),
        ("name,url\na,\n", "targets.csv:2: a target needs a name and a url"),
        (b"name,url\nj\xe9,postgresql://h/x\n", "targets.csv:2 is not UTF-8"),
        (b"name,url\na,\x00" + b"x" * 200_000, "field larger than field limit"),
    ],
)
def test_a_list_of_targets_that_cannot_be_used_is_refused_before_the_first(project, text, words):
    project.write("1_orders.sql", ORDERS)
    (project.folder / "targets.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    answer = project("fleet", "run", "--targets", "targets.csv", "--control", project.url)

    assert answer.code == 2
    assert words in answer.err


def test_status_shows_the_last_run(fleet):
    fleet("fleet", "run")

    answer = fleet("fleet", "status")

    assert answer.code == 0
    assert "fleet run 1 is done; 6 targets: 6 done" in answer.out


def test_an_unknown_executor_is_refused_with_the_nearest_name(fleet):
    answer = fleet("fleet", "run", "--executor", "thread")

    assert answer.code == 2
    assert "there is no executor 'thread'" in answer.err
    assert "did you mean 'threads'?" in answer.err


def test_the_events_of_a_tenant_are_about_its_own_schema(fleet, database):
    fleet("fleet", "run")

    recorded = database.execute("SELECT kind, identity FROM confiture_tenant_3.schema_object").fetchall()

    assert ("table", "tenant_3.orders") in recorded
    assert not [identity for _, identity in recorded if "tenant_4" in identity]


def test_a_listener_hears_of_which_tenant_each_event_is(fleet, second):
    fleet.configure(f'notify = "news"\n{(fleet.folder / "confiture.toml").read_text()}')
    second.execute("LISTEN news")

    assert fleet("fleet", "run").code == 0

    heard = [json.loads(notice.payload) for notice in second.notifies(timeout=10, stop_after=6)]
    assert {event["tenant"] for event in heard} == {f"tenant_{number}" for number in range(6)}
    assert {(event["event"], event["number"], event["version"]) for event in heard} == {("APPLIED", 1, "1")}


def test_a_run_has_a_page_too(fleet):
    answer = fleet("fleet", "run", "--output", "html=run.html")

    assert answer.code == 0
    assert "6 targets: 6 done" in (fleet.folder / "run.html").read_text()


def test_a_run_has_every_format_of_a_report(fleet, database):
    database.execute("CREATE TABLE tenant_3.orders (id text)")
    formats = ("junit", "markdown", "sarif", "gitlab", "github")

    answer = fleet("fleet", "run", *(part for name in formats for part in ("--output", f"{name}={name}")))

    written = {name: (fleet.folder / name).read_text() for name in formats}
    assert answer.code == 4
    assert '<testcase name="tenant_3"' in written["junit"]
    assert 'errors="2"' in written["junit"]
    assert all('relation "orders" already exists' in text.replace('\\"', '"') for text in written.values())


def test_what_is_refused_before_the_run_is_reported_in_every_format(fleet):
    answer = fleet("fleet", "run", "--waves", "0", "--output", "json")

    assert answer.code == answer.json["exit_code"] == 2
    assert answer.json["outcome"] == "refused"
    assert answer.json["error"]["message"] == "a wave of 0 has no target"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ('stop_after = "6"', "stop_after 6 can never be met: there are 6 targets"),
        ("connections_per_host = 2", "connections_per_host = 2 can never be met: a target takes 3"),
        ('waves = ["0%"]', "a wave of 0% has no target"),
        ('waves = ["many"]', "'many' is neither a count nor a share"),
        ('canary = "schema=tenant_9"', "canary: no target has schema=tenant_9"),
        ('order_by = "region"', "order_by: tenant_0 has no tag 'region'"),
    ],
)
def test_a_policy_that_can_never_be_met_is_refused(fleet, database, policy, words):
    with (fleet.folder / "confiture.toml").open("a") as file:
        file.write(f"{policy}\n")

    answer = fleet("fleet", "run")

    assert answer.code == 2
    assert words in answer.err
    assert "confiture.fleet_run" not in tables(database)


def test_targets_that_changed_since_the_run_began_are_refused(fleet, database):
    database.execute("CREATE TABLE tenant_0.orders (id text)")
    fleet("fleet", "run")
    database.execute("CREATE SCHEMA tenant_7")

    answer = fleet("fleet", "run", "--resume", "1", "--retry-failed")

    assert answer.code == 2
    assert "the targets have changed since fleet run 1 began: tenant_7" in answer.err
    assert "begin a new run" in answer.err


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "rehearsal"])
def test_an_unreachable_control_database_is_refused_before_the_first_target(fleet, database, more):
    answer = fleet("fleet", "run", *more, "--control", "postgresql://127.0.0.1:1/x")

    assert answer.code == 3
    assert "the control database cannot be used" in answer.err
    assert "--control" in answer.err
    assert "tenant_0.orders" not in tables(database)


def test_a_canary_goes_first_and_schemas_with_odd_names_are_targets_too(fleet, database):
    database.execute('CREATE SCHEMA "tenant_ \\ odd"')

    answer = fleet("fleet", "run", "--canary", "schema=tenant_ \\ odd", "--output", "json")

    assert answer.code == 0, answer.err
    assert [one["wave"] for one in answer.json["targets"] if "odd" in one["name"]] == [1]
    assert '"tenant_ \\ odd".orders' in tables(database)


def test_a_health_check_stops_the_run_between_waves(fleet):
    fleet.install(
        "health",
        "from confiture import hookimpl\n\n@hookimpl\ndef check_fleet(wave):\n    raise ValueError('too slow')\n",
    )

    answer = fleet("fleet", "run", "--plugins", "health", "--output", "json")

    assert answer.code == 5
    assert answer.json["reason"] == "the health check after wave 1 failed: too slow"
    assert states(answer) == ["done", *["waiting"] * 5]


def test_failures_that_may_not_be_are_tried_again_or_refused(fleet, database):
    database.execute("CREATE TABLE tenant_0.orders (id text)")
    fleet("fleet", "run")

    answer = fleet("fleet", "run", "--resume", "1")

    assert answer.code == 2
    assert "confiture fleet run --resume 1 --retry-failed" in answer.err


def test_two_hosts_that_are_one_server_are_found(project, database):
    project.write("1_orders.sql", ORDERS)
    parts = conninfo_to_dict(project.url)
    alias = project.folder / "alias"
    alias.symlink_to(parts["host"])
    other = make_conninfo(project.url, host=str(alias))
    (project.folder / "targets.csv").write_text(f'name,url\na,"{project.url}"\nb,"{other}"\n')

    answer = project("fleet", "run", "--targets", "targets.csv", "--control", project.url)

    assert answer.code == 2
    assert "a and b are two names for one database" in answer.err
    assert "public.orders" not in tables(database)


def test_the_dashboard_shows_the_last_run(fleet):
    before = fleet("dashboard", "--output", "json")
    fleet("fleet", "run")

    page, after = fleet("dashboard", "--output", "html"), fleet("dashboard", "--output", "json")

    assert before.json["fleet"] is None
    assert after.json["fleet"]["state"] == "done"
    assert "Fleet run 1 is done; 6 targets: 6 done" in page.out
    assert page.out.count('<li class="cell done') == 6


def test_progress_says_which_wave_waits_and_why_targets_failed(fleet, database):
    database.execute("CREATE TABLE tenant_0.orders (id text)")
    with (fleet.folder / "confiture.toml").open("a") as file:
        file.write('stop_after = "100%"\nsoak = "10ms"\n')

    answer = fleet("fleet", "run")

    failed = '1 failed: relation "orders" already exists'
    assert (
        f"wave 1 of 3: 1 of 6 ended, 1 failed, 0 running; the next wave begins in 10 ms; {failed}"
        in answer.err
    )
    assert "wave 2 of 3: 2 of 6 ended" in answer.err
