"""The server does not answer COMMIT: signals end the wait, and what became of it is found out and said."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from confiture.core import Migrator
from confiture.models.migration import Migration
from tests import published
from tests.project import Answer, Project, applied, ended, exists, wait_until
from tests.swallowing_proxy import SwallowingProxy

pytestmark = pytest.mark.slow

SIGNALS = pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
WAITING = "waiting for the server's answer; a second signal gives the connection up"
JAM = "CREATE TABLE jam ();"
Proxy = Callable[..., SwallowingProxy]


@pytest.fixture
def lid(project: Project) -> Project:
    """A project whose first migration is applied."""
    if not str(conninfo_to_dict(project.url).get("host", "")).startswith("/"):
        pytest.skip("the proxy stands before a Unix socket")
    project.write("1_lid.sql", "CREATE TABLE lid ();")
    project.write("1_lid.down.sql", "DROP TABLE lid;")
    (project.migrations / "1_lid.sql").rename(project.migrations / "1_lid.up.sql")
    project.run()
    return project


@pytest.fixture
def proxy(lid: Project) -> Iterator[Proxy]:
    """Begin a proxy before the project's database; the project's commands then go through it."""
    begun: list[SwallowingProxy] = []

    def begin(marker: bytes = b"jam", **how: bool) -> SwallowingProxy:
        new = SwallowingProxy(lid.url, marker, **how).__enter__()
        begun.append(new)
        return new

    yield begin
    for each in begun:
        each.__exit__(None, None, None)


def interrupt_twice(process: subprocess.Popen[str], there: SwallowingProxy, number: signal.Signals) -> Answer:
    """Send the first signal once COMMIT is waited for, and the second once the first is answered."""
    assert there.swallowed.wait(60)
    os.kill(process.pid, number)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert WAITING in first
    answer = ended(process, number)
    return Answer(answer.code, answer.out, first + answer.err)


@SIGNALS
def test_the_second_signal_ends_the_wait_and_a_new_connection_finds_it_committed(
    lid, proxy, database, number, code
):
    lid.write("2_jam.sql", JAM)
    lid.write("3_pot.sql", "CREATE TABLE pot ();")
    there = proxy()

    answer = interrupt_twice(
        lid.start("run", "--url", there.url, "--output", "json=report.json", "--output", "text"),
        there,
        number,
    )

    report = published.read_file(lid.folder / "report.json")
    assert answer.code == code == report["exit_code"]
    assert [migration["outcome"] for migration in report["migrations"]] == ["applied", "pending"]
    assert "a new connection found the migration committed" in answer.out
    assert "interrupted; applied before: 2 jam" in answer.out
    assert "rolled back" not in answer.out + answer.err
    assert lid.states() == {"1": "applied", "2": "applied", "3": "pending"}
    assert exists(database, "jam")


@SIGNALS
def test_a_down_that_is_found_committed_is_reverted(lid, proxy, database, number, code):
    there = proxy(b"DROP TABLE lid")

    answer = interrupt_twice(lid.start("down", "--url", there.url), there, number)

    assert answer.code == code
    assert "interrupted; reverted before: 1 lid" in answer.out
    assert not exists(database, "lid")


def test_what_the_server_never_got_is_found_not_committed(lid, proxy, database):
    lid.write("2_jam.sql", JAM)
    there = proxy(passes_commit=False)

    answer = interrupt_twice(lid.start("run", "--url", there.url), there, signal.SIGINT)

    assert answer.code == 130
    assert "a new connection found that it was not committed" in answer.out + answer.err
    assert "interrupted, rolled back; nothing was applied" in answer.out
    assert lid.states() == {"1": "applied", "2": "pending"}
    assert not exists(database, "jam")


def test_without_a_new_connection_it_is_not_known(lid, proxy):
    lid.write("2_jam.sql", JAM)
    there = proxy(answers_others=False)
    process = lid.start(
        "run", "--url", f"{there.url}&connect_timeout=2", "--output", "json=report.json", "--output", "text"
    )

    answer = interrupt_twice(process, there, signal.SIGINT)

    report = published.read_file(lid.folder / "report.json")
    assert answer.code == 130 == report["exit_code"]
    assert report["migrations"][0]["outcome"] == "failed"
    assert report["migrations"][0]["reason"] == "it is not known whether it was committed"
    assert "it is not known whether it was committed" in answer.out
    assert "confiture status" in answer.out
    assert "rolled back" not in answer.out + answer.err
    assert "nothing was applied" not in answer.out


@SIGNALS
def test_the_first_signal_cancels_a_commit_that_the_server_is_at(lid, database, number, code):
    """A trigger on the ledger leaves a deferred one, which sleeps until the commit."""
    slow_down_commits(database, "PERFORM pg_sleep(600);")
    lid.write("2_jam.sql", JAM)
    process = lid.start("run")
    wait_until(lambda: commits(database), process)

    answer = ended(process, number)

    assert answer.code == code
    assert "interrupted, rolled back; nothing was applied" in answer.out
    assert lid.states() == {"1": "applied", "2": "pending"}
    assert not exists(database, "jam")


@SIGNALS
def test_a_commit_that_ends_in_spite_of_the_signal_is_applied(lid, database, number, code):
    slow_down_commits(database, "BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END;")
    lid.write("2_jam.sql", JAM)
    lid.write("3_pot.sql", "CREATE TABLE pot ();")
    process = lid.start("run")
    wait_until(lambda: commits(database), process)

    answer = ended(process, number)

    assert answer.code == code
    assert "interrupted; applied before: 2 jam" in answer.out
    assert lid.states() == {"1": "applied", "2": "applied", "3": "pending"}


def test_a_connection_lost_at_the_commit_is_looked_up_without_a_signal(lid, proxy, database):
    lid.write("2_jam.sql", JAM)
    lid.write("3_pot.sql", "CREATE TABLE pot ();")
    there = proxy()
    process = lid.start("run", "--url", there.url)
    assert there.swallowed.wait(60)
    wait_until(lambda: exists(database, "jam"), process)
    there.cut()

    answer = ended(process)

    assert answer.code == 4
    assert "a new connection found the migration committed" in answer.out
    assert "stopped; applied before: 2 jam" in answer.out
    assert lid.states() == {"1": "applied", "2": "applied", "3": "pending"}


NO_TRANSACTION = (
    "-- confiture: no-transaction\nCREATE TABLE pot ();\nCREATE TABLE jam ();\nCREATE TABLE fig ();\n"
)


@SIGNALS
def test_of_a_no_transaction_migration_the_statements_that_are_recorded_are_counted(
    lid, proxy, database, number, code
):
    lid.write("2_jam.sql", NO_TRANSACTION)
    there = proxy(b"CREATE TABLE jam")

    answer = interrupt_twice(lid.start("run", "--url", there.url), there, number)
    again = lid.run()

    assert answer.code == code
    assert "2 statements are recorded as done" in answer.out + answer.err
    assert "rolled back" not in answer.out
    assert "nothing was applied" not in answer.out
    assert again.exit_code == 0
    assert all(exists(database, name) for name in ("pot", "jam", "fig"))


def test_of_a_no_transaction_migration_the_first_statement_counts_too(lid, proxy, database):
    lid.write("2_jam.sql", NO_TRANSACTION)
    there = proxy(b"CREATE TABLE pot")

    answer = interrupt_twice(lid.start("run", "--url", there.url), there, signal.SIGINT)

    assert "1 statement is recorded as done" in answer.out + answer.err
    assert "rolled back" not in answer.out
    assert "nothing was applied" not in answer.out
    assert lid.states() == {"1": "applied", "2": "unfinished"}


def test_the_last_record_of_a_no_transaction_migration_is_found_committed(lid, proxy):
    lid.write("2_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();\n")
    there = proxy(b"INSERT INTO confiture.ledger")

    answer = interrupt_twice(lid.start("run", "--url", there.url), there, signal.SIGINT)

    assert answer.code == 130
    assert "interrupted; applied before: 2 jam" in answer.out
    assert lid.states() == {"1": "applied", "2": "applied"}


@SIGNALS
def test_a_baseline_says_that_it_is_not_known(lid, proxy, number, code):
    lid.write("2_jam.sql", JAM)
    there = proxy(b"INSERT INTO confiture.ledger")

    answer = interrupt_twice(lid.start("baseline", "2", "--url", there.url), there, number)

    assert answer.code == code
    assert "not known whether the ledger was changed" in answer.err
    assert "confiture status" in answer.err


def test_a_baseline_whose_connection_is_lost_says_that_it_is_not_known(lid, proxy):
    lid.write("2_jam.sql", JAM)
    there = proxy(b"INSERT INTO confiture.ledger")
    process = lid.start("baseline", "2", "--url", there.url)
    assert there.swallowed.wait(60)
    there.cut()

    answer = ended(process)

    assert answer.code == 3
    assert "the server did not answer COMMIT" in answer.err
    assert "hint: when the server answers again, look: confiture status" in answer.err


class Jam(Migration):
    version = "2"
    name = "jam"

    def up(self) -> None:
        self.execute("CREATE TABLE jam ()")


def test_an_application_gets_the_error_and_what_became_of_it(lid, proxy, database):
    there = proxy()
    with psycopg.connect(there.url) as conn:

        def cut_when_committed() -> None:
            assert there.swallowed.wait(60)
            wait_until(lambda: exists(database, "jam"))
            there.cut()

        cutting = threading.Thread(target=cut_when_committed)
        cutting.start()
        with pytest.raises(psycopg.OperationalError):
            Migrator(connection=conn).apply(Jam(connection=conn))
        cutting.join()

    assert applied(database) == ["1", "2"]


def slow_down_commits(database: psycopg.Connection[Any], body: str) -> None:
    """Run ``body`` at each commit of a transaction that writes the ledger."""
    database.execute(
        f"""
        CREATE TABLE queue ();
        CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {body} RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON queue DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION at_commit();
        CREATE FUNCTION enqueue() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN SET CONSTRAINTS slow DEFERRED; INSERT INTO queue DEFAULT VALUES; RETURN NULL; END $$;
        CREATE TRIGGER enqueue AFTER INSERT ON confiture.ledger FOR EACH ROW EXECUTE FUNCTION enqueue();
        """
    )


def commits(database: psycopg.Connection[Any]) -> object:
    """Whether a session is at its COMMIT."""
    return database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"
        " AND datname = current_database()"
    ).fetchone()
