"""Measure the truth of ``tests/data/locks_more.tsv``, by other means than a rehearsal's, and write it there.

An observer that knows the relations from before reads ``pg_locks`` of the migrating session all the
while and after each statement; files are told by ``pg_class``, scans by the session's own counters, and
what waits by a third session that tries. Nothing of confiture's engine takes part. A comment
``/* here */`` in PL/pgSQL marks the moment at which a lock is held that is gone soon after: the measured
text sleeps there, so that the observer cannot miss it.

``python -m tests.accuracy.measure BINDIR...`` measures on each of these servers, the first one being
the one that the columns describe.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
import postgast
import psycopg
from attrs import define, evolve, field, frozen
from psycopg import Connection

from confiture.testing.databases import TemplateDatabases
from tests.accuracy.cases import DATA, STRONG, Case, read_table
from tests.accuracy.laboratory import open_laboratory, prepare, read_major
from tests.accuracy.live import Known, find_waiting, read_relations

TABLE = "locks_more.tsv"
_PAUSE = "PERFORM pg_sleep(0.15);"
_TRIES_OUTSIDE = 40
_MODES = ("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", *STRONG)
_HELD = "SELECT relation::bigint, mode FROM pg_locks WHERE locktype = 'relation' AND granted AND pid = %s"
_FILES = "SELECT oid::bigint, relfilenode::bigint, relkind::text FROM pg_class WHERE relfilenode <> 0"
_INDEXES = "SELECT indexrelid::bigint, indrelid::bigint FROM pg_index"
_REWRITTEN = "rewritten: "
_ON_REWRITE = f"""
    CREATE SCHEMA measure;
    CREATE FUNCTION measure.tell() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE INFO '{_REWRITTEN}%', pg_event_trigger_table_rewrite_oid()::bigint; END $$;
    CREATE EVENT TRIGGER measure_tell ON table_rewrite EXECUTE FUNCTION measure.tell();
"""
_COUNTS = (
    "SELECT oid::bigint, pg_stat_get_xact_numscans(oid), pg_stat_get_xact_tuples_returned(oid)"
    " FROM unnest(%s::bigint[]) AS oid"
)


@frozen
class Measured:
    """What one case does on one server; names as the table spells them."""

    tables: Mapping[str, str] = field(factory=dict)
    indexes: Mapping[str, str] = field(factory=dict)
    transient: Mapping[str, str] = field(factory=dict)
    rewrite: frozenset[str] = frozenset()
    builds: frozenset[str] = frozenset()
    scan: frozenset[str] = frozenset()
    br: frozenset[str] = frozenset()
    bw: frozenset[str] = frozenset()
    long: bool = False
    error: str = "-"
    index_names: frozenset[str] = field(default=frozenset(), eq=False)


@frozen
class Files:
    """The files and indexes of a database at one moment."""

    files: Mapping[int, tuple[int, str]]
    indexes: Mapping[int, int]


@define
class Observer:
    """Reads the locks of another session again and again, until told to stop."""

    conn: Connection[Any]
    pid: int
    seen: set[tuple[int, str]] = field(factory=set)
    over: threading.Event = field(factory=threading.Event)

    def look(self) -> set[tuple[int, str]]:
        """Return what is held now."""
        now = set(self.conn.execute(_HELD, (self.pid,)).fetchall())
        self.seen |= now
        return now

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Look all the while."""
        self.over.clear()
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()

    def _watch(self) -> None:
        while not self.over.is_set():
            self.look()


@define
class Subject:
    """One case under observation."""

    conn: Connection[Any]
    third: Connection[Any]
    observer: Observer
    known: Mapping[int, Known]
    rows: Mapping[int, int]
    own_rows: Mapping[int, int]
    before: Files
    rewritten: set[int]
    found: Measured = Measured()
    held: dict[int, str] = field(factory=dict)

    def run(self, case: Case) -> Measured:
        """Run it statement by statement, and return what it did."""
        try:
            for statement in postgast.split(case.migration.replace("/* here */", _PAUSE)):
                self._step(statement)
        except psycopg.Error as error:
            return Measured(error=f"{error.sqlstate} {error.diag.message_primary}")
        strongest = _find_strongest(self.observer.seen)
        end = _find_strongest(self.observer.look())
        self._blocks()
        return evolve(
            self.found,
            tables=self._locks(end, "rpmvf"),
            indexes=self._locks(end, "iI"),
            index_names=self._names({oid for oid, relation in self.known.items() if relation.kind in "iI"}),
            transient={
                self._name(oid): mode
                for oid, mode in strongest.items()
                if oid in self.known and mode in STRONG and mode != end.get(oid)
            },
        )

    def _step(self, statement: str) -> None:
        counts, files = self._counts(), self._files()
        self.observer.seen = {lock for lock in self.observer.seen if lock[1] in STRONG}
        with self.observer.watch():
            self.conn.execute(statement.encode())
        truncates = statement.lstrip().upper().startswith("TRUNCATE")
        scans = self._scans(counts, truncates)
        rewrites, builds, built_on = self._changed(files, self._files())
        blocked = self._blocked()
        acted = {oid for oid in scans | rewrites | built_on if self._populated(oid)}
        self.found = evolve(
            self.found,
            scan=self.found.scan | self._names(scans),
            rewrite=self.found.rewrite | self._names(rewrites),
            builds=self.found.builds | builds,
            long=self.found.long or bool(acted & blocked and not truncates),
        )

    def _counts(self) -> dict[int, tuple[int, int]]:
        oids = [oid for oid, relation in self.known.items() if relation.kind in "rm"]
        rows = self.conn.execute(_COUNTS, (oids,))
        return {oid: (scans, returned) for oid, scans, returned in rows}

    def _scans(self, before: Mapping[int, tuple[int, int]], truncates: bool) -> set[int]:
        after = self._counts()
        return {
            oid
            for oid, (scans, returned) in after.items()
            if self.rows[oid]
            and scans > before[oid][0]
            and (returned - before[oid][1] >= self.own_rows[oid] or truncates)
        }

    def _files(self) -> Files:
        return _read_files(self.conn)

    def _changed(self, then: Files, now: Files) -> tuple[set[int], frozenset[str], set[int]]:
        """Return what was rewritten, the builds, and the tables with a build."""
        new_file = {
            oid for oid, file in now.files.items() if oid in self.known and then.files.get(oid, file) != file
        }
        rewrites = {oid for oid in new_file if self.known[oid].kind in "rm"}
        rebuilt = {oid for oid in new_file if self.known[oid].kind == "i"}
        # What was rewritten and undone again within the statement has its old file back.
        undone = (self.rewritten & set(self.known)) - rewrites
        self.rewritten.clear()
        rewrites |= undone
        rebuilt |= {index for index, table in then.indexes.items() if table in undone}
        # An index may get a new oid and keep its file: then nothing was built.
        old_files = {file for file, _ in then.files.values()}
        fresh = {
            table
            for index, table in now.indexes.items()
            if index not in then.indexes
            and table in self.known
            and now.files.get(index, (0, ""))[0] not in old_files
        }
        builds = {self._name(oid) for oid in rebuilt} | {f"new@{self._name(oid)}" for oid in fresh}
        return rewrites, frozenset(builds), fresh | {self.before.indexes[oid] for oid in rebuilt}

    def _blocked(self) -> set[int]:
        """Return the relations that wait now, and those that a lock gone meanwhile kept waiting."""
        waits = self._try()
        names = waits.reads | waits.writes
        strong = {oid for oid, mode in self.observer.seen if mode in STRONG}
        return {
            oid
            for oid, relation in self.known.items()
            if relation.name in names or (oid in strong and relation.kind in "rp")
        }

    def _try(self) -> Any:
        held = {oid for oid, mode in self.observer.look() if mode in STRONG}
        views = {
            relation.name for oid, relation in self.known.items() if oid in held and relation.kind == "v"
        }
        return find_waiting(self.third, self.known, frozenset(views))

    def _blocks(self) -> None:
        waits = self._try()
        self.found = evolve(
            self.found,
            br=frozenset(_shorten(name) for name in waits.reads),
            bw=frozenset(_shorten(name) for name in waits.writes),
        )

    def _populated(self, oid: int) -> bool:
        return bool(self.rows.get(oid))

    def _locks(self, held: Mapping[int, str], kinds: str) -> dict[str, str]:
        return {
            self._name(oid): mode
            for oid, mode in held.items()
            if oid in self.known and self.known[oid].kind in kinds
        }

    def _names(self, oids: set[int]) -> frozenset[str]:
        return frozenset(self._name(oid) for oid in oids)

    def _name(self, oid: int) -> str:
        return _shorten(self.known[oid].name)


def _shorten(name: str) -> str:
    """Return a relation as the tables spell it: no quotes, no ``public.``."""
    return name.replace('"', "").removeprefix("public.")


def _find_strongest(held: set[tuple[int, str]]) -> dict[int, str]:
    modes: dict[int, str] = {}
    for oid, mode in held:
        if _MODES.index(mode) >= _MODES.index(modes.get(oid, _MODES[0])):
            modes[oid] = mode
    return modes


def _read_files(conn: Connection[Any]) -> Files:
    files = {oid: (file, kind) for oid, file, kind in conn.execute(_FILES)}
    return Files(files, dict(conn.execute(_INDEXES).fetchall()))


def _collect_rewrites(setting_up: Connection[Any], conn: Connection[Any]) -> set[int]:
    """Return a set that the server puts every rewritten table into."""
    rewritten: set[int] = set()
    setting_up.execute(_ON_REWRITE)

    def collect(notice: psycopg.errors.Diagnostic) -> None:
        message = notice.message_primary or ""
        if message.startswith(_REWRITTEN):
            rewritten.add(int(message.removeprefix(_REWRITTEN)))

    conn.add_notice_handler(collect)
    return rewritten


def _count_rows(conn: Connection[Any], known: Mapping[int, Known], only: str = "") -> dict[int, int]:
    """Return how many rows each table has, those of its partitions and children included."""
    counted = {oid: relation.name for oid, relation in known.items() if relation.kind in "rpm"}
    return {
        oid: conn.execute(f"SELECT count(*) FROM {only} {name}".encode()).fetchall()[0][0]
        for oid, name in counted.items()
    }


def measure(templates: TemplateDatabases, case: Case) -> Measured:
    """Measure one case."""
    if case.mode == "tx":
        return _measure_once(templates, case)
    # What is held for a moment is not seen each time.
    runs = [_measure_once(templates, case) for _ in range(_TRIES_OUTSIDE)]
    held: dict[str, str] = {}
    for name, mode in (pair for run in runs for pair in run.transient.items()):
        if _MODES.index(mode) > _MODES.index(held.get(name, _MODES[0])):
            held[name] = mode
    return _replace_transient(runs[0], held)


def _replace_transient(measured: Measured, held: Mapping[str, str]) -> Measured:
    """Return what a statement did that ended its own transaction: its scans are not to be had."""
    indexes = {build for build in held if build in measured.index_names}
    tables = {name: mode for name, mode in held.items() if name not in indexes}
    return evolve(
        measured,
        tables=tables,
        indexes={name: held[name] for name in indexes},
        transient={},
        scan=frozenset(),
        br=frozenset(name for name, mode in tables.items() if mode == STRONG[-1]),
        bw=frozenset(tables),
        long=bool(measured.rewrite & frozenset(tables)),
    )


def _measure_once(templates: TemplateDatabases, case: Case) -> Measured:
    with prepare(templates, case) as url:
        outside = case.mode == "notx"
        with (
            psycopg.connect(url, autocommit=outside) as conn,
            psycopg.connect(url, autocommit=True) as third,
            psycopg.connect(url, autocommit=True) as watching,
        ):
            conn.execute("SET max_parallel_workers_per_gather = 0")
            conn.execute("SET max_parallel_maintenance_workers = 0")
            known = read_relations(third)
            rows, own = _count_rows(third, known), _count_rows(third, known, "ONLY")
            rewritten = _collect_rewrites(third, conn)
            observer = Observer(watching, conn.info.backend_pid)
            subject = Subject(conn, third, observer, known, rows, own, _read_files(third), rewritten)
            found = subject.run(case)
            if not outside:
                conn.rollback()
            return found


def build_row(case: Case, by_major: Mapping[int, Measured]) -> dict[str, str]:
    """Return the case's row with what was measured put in."""
    base_major, base = next(iter(by_major.items()))
    agrees = sorted(number for number, measured in by_major.items() if measured == base)
    differs = [
        f"{number}:{_describe_difference(base, measured)}"
        for number, measured in by_major.items()
        if measured != base
    ]
    all_locks = {**base.tables, **{f"index {name}": mode for name, mode in base.indexes.items()}}
    top = max((_MODES.index(mode) for mode in all_locks.values()), default=0)
    return {
        **case.row,
        "max_lock": _format_modes(
            {name: mode for name, mode in all_locks.items() if _MODES.index(mode) == top}
        ),
        "locks_on_tables": _format_modes(base.tables),
        "locks_on_indexes": _format_modes(base.indexes),
        "rewrite": f"yes:{_format_names(base.rewrite)}" if base.rewrite else "no",
        "index_rebuilt_or_built_on": _format_names(base.builds),
        "full_scan_of": _format_names(base.scan),
        "blocks_reads_of": _format_names(base.br),
        "blocks_writes_of": _format_names(base.bw),
        "long_block": "yes" if base.long else "no",
        "transient_only_locks": _format_modes(base.transient),
        "error": base.error,
        "pg_version": str(base_major),
        "agrees_on_pg": ",".join(map(str, agrees)),
        "pg_diffs": " ; ".join(differs) or "-",
    }


def _describe_difference(base: Measured, other: Measured) -> str:
    """Return what differs, as :meth:`tests.accuracy.cases.Case.truth` reads it."""
    parts = []
    locks = ("tables", "indexes", "transient")
    if any(getattr(base, name) != getattr(other, name) for name in locks):
        parts += [f"{name}={dict(sorted(getattr(other, name).items()))!r}" for name in locks]
    for name in ("rewrite", "builds", "scan", "br", "bw"):
        if getattr(base, name) != getattr(other, name):
            parts.append(f"{name}={sorted(getattr(other, name))!r}")
    parts += [f"long={other.long}"] if base.long != other.long else []
    parts += [f"error={other.error}"] if base.error != other.error else []
    return "/".join(parts)


def _format_modes(modes: Mapping[str, str]) -> str:
    return ",".join(f"{name}:{mode}" for name, mode in sorted(modes.items())) or "none"


def _format_names(names: frozenset[str]) -> str:
    return ",".join(sorted(names)) or "none"


@click.command()
@click.option("--only", multiple=True, metavar="CASE", help="Measure these anew, and leave the others.")
@click.argument("bindirs", nargs=-1, required=True)
def main(bindirs: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Measure on the servers whose programs are in BINDIRS, and write the table anew."""
    cases = read_table(TABLE)
    chosen = [case for case in cases if not only or case.id in only]
    found: dict[str, dict[int, Measured]] = {case.id: {} for case in chosen}
    for bindir in bindirs:
        os.environ["CONFITURE_PG_BINDIR"] = bindir
        with open_laboratory() as templates:
            for case in chosen:
                found[case.id][read_major(templates.conn)] = measure(templates, case)
            click.echo(f"PostgreSQL {read_major(templates.conn)}: {len(chosen)} cases", err=True)
    _write([build_row(case, found[case.id]) if case.id in found else dict(case.row) for case in cases])


def _write(rows: Sequence[Mapping[str, str]]) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    with tempfile.NamedTemporaryFile("w", dir=DATA, delete=False, encoding="utf-8") as new:
        new.write("\n".join(lines) + "\n")
    os.chmod(new.name, 0o644)
    os.replace(new.name, DATA / TABLE)


if __name__ == "__main__":
    main()
