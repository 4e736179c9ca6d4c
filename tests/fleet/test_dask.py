"""Dask does the same as threads, in this process or on a cluster, and never sees a secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, build_settings
from tests.project import Answer, Project, ended, running, tables, until, wait_until

pytest.importorskip("distributed", reason="the extra [dask] is not installed")
pytestmark = pytest.mark.slow
TENANTS = 6
LEAVE_TRAIL = "INSERT INTO public.trail VALUES (current_schema());\nSELECT pg_sleep(0.2);\n"


@pytest.fixture
def fleet(project, database):
    """A project with six tenants, whose workers find the password in a variable."""
    for number in range(TENANTS):
        database.execute(f"CREATE SCHEMA tenant_{number}")
    database.execute("CREATE TABLE public.trail (tenant text)")
    project.write("1_orders.sql", f"CREATE TABLE orders (id int);\n{LEAVE_TRAIL}")
    project.configure(
        f'[fleet]\nschemas = "tenant_*"\ncontrol = "{project.url}"\nexecutor = "dask"\nworkers = 3\n'
    )
    return project


@frozen
class Cluster:
    """A scheduler on loopback.

    Attributes:
        address: Where it listens.
        workers: Its workers, each a process of its own that knows PGPASSWORD.
    """

    address: str
    workers: tuple[subprocess.Popen[str], ...]


@pytest.fixture
def cluster(fleet: Project, tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler with two workers; the ports are whichever are free."""
    file = tmp_path / "scheduler.json"
    environ = fleet.environment(PGPASSWORD="jam-secret")
    common = ["--no-dashboard", "--scheduler-file", str(file), "--host", "127.0.0.1"]
    with ExitStack() as stack:
        scheduler = stack.enter_context(_start(["scheduler", "--port", "0", *common], fleet.folder, environ))
        wait_until(lambda: file.exists() and file.read_text().endswith("}"), scheduler)
        arguments = ["worker", *common, "--no-nanny", "--nworkers", "1", "--nthreads", "2"]
        workers = [stack.enter_context(_start(arguments, fleet.folder, environ)) for _ in range(2)]
        address = next(part for part in file.read_text().split('"') if part.startswith("tcp://"))
        yield Cluster(address, tuple(workers))


@contextmanager
def _start(arguments: list[str], folder: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{arguments[0]}", *arguments[1:]]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def states(answer: Answer) -> list[str]:
    """Return the state of each target of a run, in order."""
    return [target["state"] for target in answer.json["targets"]]


def test_a_local_cluster_migrates_every_tenant(fleet, database):
    answer = fleet("fleet", "run", "--output", "json")
    again = fleet("fleet", "run", "--output", "json")

    assert answer.code == 0, answer.err
    assert states(answer) == ["done"] * TENANTS
    assert states(again) == ["unchanged"] * TENANTS
    assert {f"tenant_{number}.orders" for number in range(TENANTS)} <= set(tables(database))


def test_a_scheduler_elsewhere_gets_the_work_and_its_workers_keep_no_connection(fleet, database, cluster):
    answer = fleet("fleet", "run", "--scheduler", cluster.address, "--output", "json")

    kept = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'confiture' AND datname = current_database()"
    )
    assert answer.code == 0, answer.err
    assert states(answer) == ["done"] * TENANTS
    until(lambda: not database.execute(kept).fetchall(), "the connections to end")


def test_a_killed_worker_loses_nothing(fleet, database, cluster):
    process = fleet.start("fleet", "run", "--scheduler", cluster.address, "--output", "json")
    until(running(database, "pg_sleep(0.2)"), "a migration")

    cluster.workers[0].kill()
    answer = ended(process)
    resumed = fleet(*("fleet", "run", "--resume", "1", "--retry-failed", "--scheduler", cluster.address))

    assert len(answer.json["targets"]) == TENANTS
    assert resumed.code == 0, (answer, resumed)
    assert sorted(database.execute("SELECT * FROM public.trail")) == [
        (f"tenant_{n}",) for n in range(TENANTS)
    ]


def test_a_password_in_a_url_is_refused_before_it_leaves(fleet):
    (fleet.folder / "targets.csv").write_text("name,url\na,postgresql://me:secret@127.0.0.1/x\n")
    fleet.configure(f'[fleet]\ntargets = "targets.csv"\ncontrol = "{fleet.url}"\nexecutor = "dask"\n')

    answer = fleet("fleet", "run")

    assert answer.code == 2
    assert "the URL of a holds a password" in answer.err
    assert "secret" not in answer.err


def test_a_task_holds_a_reference_to_the_password_and_not_the_password(fleet):
    target = Target("a", "postgresql://me:${PASSWORD}@h/x")
    pickle = pytest.importorskip("distributed.protocol.pickle")

    sent = pickle.dumps(TargetTask(target, fleet.settings(url=None), "plan"))

    task = pickle.loads(sent)
    settings = build_settings(task.settings, task.target, {"PASSWORD": "jam-secret"})
    assert b"${PASSWORD}" in sent
    assert settings.url == "postgresql://me:jam-secret@h/x"


def test_an_unreachable_scheduler_is_refused_before_the_first_target(fleet, database):
    answer = fleet("fleet", "run", "--scheduler", "tcp://127.0.0.1:1")

    assert answer.code == 3
    assert "the Dask scheduler cannot be reached: tcp://127.0.0.1:1" in answer.err
    assert "confiture.fleet_run" not in tables(database)
