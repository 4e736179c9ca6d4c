"""Keep the truth about a fleet run in PostgreSQL: a killed coordinator or worker loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from attrs import asdict, evolve, frozen
from psycopg import Connection

from confiture.exceptions import LedgerFault, LockFault, UsageFault
from confiture.fleet.policy import FleetPolicy
from confiture.fleet.target import Target
from confiture.models.fleet import RunRecord, TargetOutcome, TargetRecord
from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.sql.quote import quote_ident

_CREATE = """
    CREATE SCHEMA IF NOT EXISTS {q};
    CREATE TABLE IF NOT EXISTS {q}.fleet_run (
        run bigint PRIMARY KEY,
        plan text NOT NULL,
        policy jsonb NOT NULL,
        state text NOT NULL,
        reason text,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        started_by text NOT NULL DEFAULT session_user,
        ended_at timestamptz
    );
    CREATE TABLE IF NOT EXISTS {q}.fleet_target (
        run bigint NOT NULL REFERENCES {q}.fleet_run,
        place integer NOT NULL,
        wave integer NOT NULL,
        name text NOT NULL,
        -- Its server, database and schema: another database under the same name is another target.
        location text NOT NULL,
        state text NOT NULL DEFAULT 'waiting',
        attempts integer NOT NULL DEFAULT 0,
        applied text[] NOT NULL DEFAULT '{{}}',
        error text,
        exit_code integer,
        duration_ms double precision,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (run, name)
    );
"""


@frozen
class FleetStore:
    """The tables ``fleet_run`` and ``fleet_target`` in the control database.

    Attributes:
        conn: A connection to it, in autocommit mode.
        schema: The schema of the tables.
    """

    conn: Connection[Any]
    schema: str

    def create_run(self, plan: str, policy: FleetPolicy, waves: Sequence[Sequence[Target]]) -> int:
        """Record a new run with all its targets, and return its number."""
        q = quote_ident(self.schema)
        listed = [(wave, target) for wave, targets in enumerate(waves) for target in targets]
        with self.conn.transaction():
            send(self.conn, _CREATE.format(q=q))
            # Under the lock of a new row two coordinators never choose one number.
            send(self.conn, f"LOCK TABLE {q}.fleet_run IN SHARE ROW EXCLUSIVE MODE")
            ((run,),) = fetch_rows(self.conn, f"SELECT coalesce(max(run), 0) + 1 FROM {q}.fleet_run")
            # Before anybody else can see it.
            self.lock_run(run)
            self.conn.execute(
                f"INSERT INTO {q}.fleet_run (run, plan, policy, state)"
                " VALUES (%s, %s, %s, 'running')".encode(),
                (run, plan, json.dumps(asdict(policy))),
            )
            self.conn.execute(
                f"INSERT INTO {q}.fleet_target (run, place, wave, name, location) SELECT %s, * FROM"
                " unnest(%s::int[], %s::int[], %s::text[], %s::text[])".encode(),
                (
                    run,
                    list(range(len(listed))),
                    [wave for wave, _ in listed],
                    [target.name for _, target in listed],
                    [target.place for _, target in listed],
                ),
            )
        return int(run)

    def read_run(self, run: int | None = None) -> RunRecord:
        """Return a run with its targets; the last one if no number is given.

        Raises:
            UsageFault: There is no such run.
        """
        q = quote_ident(self.schema)
        which = f"run = {run}" if run is not None else f"run = (SELECT max(run) FROM {q}.fleet_run)"
        try:
            rows = fetch_rows(
                self.conn,
                f"SELECT run, plan, state, reason, to_char(started_at AT TIME ZONE 'UTC',"
                f' \'YYYY-MM-DD"T"HH24:MI:SS"+00:00"\') FROM {q}.fleet_run WHERE {which}',
            )
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            rows = []
        if not rows:
            what = f"there is no fleet run {run}" if run is not None else "no fleet run is recorded here"
            raise UsageFault(
                what, hint="begin one: confiture fleet run; another control database: --control URL"
            )
        targets = fetch_rows(
            self.conn,
            "SELECT name, wave, state, attempts, error, duration_ms, exit_code, location"
            f" FROM {q}.fleet_target WHERE run = {rows[0][0]} ORDER BY place",
        )
        number, plan, state, reason, started_at = rows[0]
        records = tuple(TargetRecord(*row) for row in targets)
        return RunRecord(number, plan, state, reason, started_at, records)

    def read_present(self, run: int | None = None) -> RunRecord:
        """Return a run as it is now: ``killed`` if it was running, and no process works on it any more.

        Raises:
            UsageFault: There is no such run.
        """
        record = self.read_run(run)
        if record.state != "running" or self.is_led(record.run):
            return record
        way_on = f"no process works on it; go on with: confiture fleet run --resume {record.run}"
        return evolve(record, state="killed", reason=way_on)

    def lock_run(self, run: int) -> None:
        """Hold a run for as long as the connection lives, so that two coordinators never share it.

        Raises:
            LockFault: Another coordinator works on it.
        """
        ((taken,),) = fetch_rows(
            self.conn, f"SELECT pg_try_advisory_lock(hashtextextended({self._render_key(run)}, 0))"
        )
        if not taken:
            raise LockFault(
                f"another process works on fleet run {run}", hint=f"watch it: confiture fleet status {run}"
            )

    def is_led(self, run: int) -> bool:
        """Return True if a process works on a run."""
        try:
            self.lock_run(run)
        except LockFault:
            return True
        send(self.conn, f"SELECT pg_advisory_unlock(hashtextextended({self._render_key(run)}, 0))")
        return False

    def _render_key(self, run: int) -> str:
        return quote_literal(f"{self.schema}.fleet_run {run}")

    def begin_targets(self, run: int, names: Iterable[str]) -> None:
        """Record that targets are begun."""
        self._update(run, names, "state = 'running', attempts = attempts + 1, error = NULL")

    def reset_targets(self, run: int, names: Iterable[str]) -> None:
        """Record that targets wait again: their worker is gone, or they are to be tried again."""
        self._update(run, names, "state = 'waiting'")

    def _update(self, run: int, names: Iterable[str], assignment: str) -> None:
        listed = list(names)
        if listed:
            self.conn.execute(
                f"UPDATE {quote_ident(self.schema)}.fleet_target SET {assignment},"
                " changed_at = clock_timestamp() WHERE run = %s AND name = ANY (%s)".encode(),
                (run, listed),
            )

    def end_targets(self, run: int, outcomes: Sequence[TargetOutcome]) -> None:
        """Record what became of targets."""
        if not outcomes:
            return
        # A tenant that a survey found unchanged was never begun.
        self.conn.execute(
            f"UPDATE {quote_ident(self.schema)}.fleet_target AS target SET state = ended.state,"
            " attempts = greatest(attempts, 1), error = ended.error, exit_code = ended.exit_code,"
            " applied = target.applied || string_to_array(ended.applied, ' '),"
            " duration_ms = ended.duration_ms, changed_at = clock_timestamp()"
            " FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::float8[])"
            " AS ended (name, state, applied, error, exit_code, duration_ms)"
            " WHERE target.run = %s AND target.name = ended.name".encode(),
            (
                [outcome.name for outcome in outcomes],
                [outcome.state for outcome in outcomes],
                [" ".join(outcome.applied) for outcome in outcomes],
                [outcome.error for outcome in outcomes],
                [outcome.exit_code for outcome in outcomes],
                [outcome.duration_ms for outcome in outcomes],
                run,
            ),
        )

    def end_run(self, run: int, state: str, reason: str | None = None) -> None:
        """Record how a run ended."""
        text = "NULL" if reason is None else quote_literal(reason)
        send(
            self.conn,
            f"UPDATE {quote_ident(self.schema)}.fleet_run"
            f" SET state = {quote_literal(state)}, reason = {text},"
            f" ended_at = {'NULL' if state == 'running' else 'clock_timestamp()'}"
            f" WHERE run = {run}",
        )


def refuse_other_plan(record: RunRecord, plan: str) -> None:
    """Refuse to go on with other migrations than those that a run began with.

    Raises:
        LedgerFault: They are other ones.
    """
    if record.plan != plan:
        raise LedgerFault(
            f"the migrations have changed since fleet run {record.run} began",
            hint="restore them, or begin a new run: confiture fleet run",
        )
