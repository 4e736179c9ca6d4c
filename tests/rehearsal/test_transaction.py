"""A rehearsal in the given database: killed or out of locks, it leaves nothing."""

from __future__ import annotations

import signal

from tests.project import only, running, until
from tests.rehearsal.fingerprints import fingerprint


def test_a_killed_rehearsal_leaves_nothing(project, sql, maintenance):
    sql("CREATE TABLE jam (id int)", "INSERT INTO jam VALUES (1)")
    before = fingerprint(project.url)
    project.write("1_slow.sql", "CREATE TABLE bread (); DELETE FROM jam; SELECT pg_sleep(60);")
    with project.running("dry-run", "--in", "transaction") as process:
        pid = until(running(maintenance, "pg_sleep(60)"), "the rehearsal to sleep")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    # The server finds out at the end of the statement; that is not waited for.
    maintenance.execute("SELECT pg_cancel_backend(%s)", (pid,))

    assert fingerprint(project.url) == before


# The lock table holds about ten thousand by default: 64 for each of the hundred and some sessions.
PILE = "SELECT count(pg_advisory_xact_lock({}, g)) FROM generate_series(1, 6000) g;"


def test_a_plan_that_runs_out_of_locks_in_one_transaction_is_told_the_ways_on(project):
    for number in range(1, 10):
        project.write(f"{number}_many.sql", PILE.format(number))

    report = project.rehearse()

    failed = next(migration for migration in report.migrations if migration.outcome == "failed")
    assert failed.error is not None
    assert failed.error.sqlstate == "53200"
    assert "max_locks_per_transaction" in (failed.error.hint or "")
    assert "--in clone" in (failed.error.hint or "")
    assert report.exit_code == 4


def test_the_default_is_one_transaction(project):
    project.write("1_it.sql", "CREATE TABLE jam ();")

    report = project.rehearse()

    assert only(report).outcome == "rehearsed"
    assert report.notes == ()
