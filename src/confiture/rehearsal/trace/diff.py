"""Compare consecutive snapshots: the difference is what the statement or hook between them did."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from attrs import define, evolve, field

from confiture.models.lock_mode import STRONG_MODES, LockMode
from confiture.models.report import IndexBuild, NotSeen, Seen
from confiture.rehearsal.trace.blocked_access import find_blocking
from confiture.rehearsal.trace.catalog import Catalog
from confiture.rehearsal.trace.scans import is_complete_scan, is_populated, is_truncate
from confiture.rehearsal.trace.snapshot import (
    Fact,
    HeldLock,
    NewIndex,
    ScanCounts,
    SessionState,
    Snapshot,
)
from confiture.rehearsal.trace.steps import AcquiredLock, StatementTrace


@define
class MigrationTrace:
    """What one migration has done so far, step by step. A step is one statement or one hook.

    Attributes:
        state: The snapshot that the next one is compared with, and the scan counters.
        catalog: The relations that existed before the migration.
        steps: What the statements and hooks did, in order.
        end_ms: When the migration ended, on the tracer's clock, in milliseconds.
        not_seen: What could not be observed, and why.
        held_before: Locks that the transaction held before the migration.
    """

    state: SessionState = field(factory=SessionState)
    catalog: Catalog = field(init=False)
    steps: list[StatementTrace] = field(factory=list)
    end_ms: float = 0.0
    not_seen: list[NotSeen] = field(factory=list)
    held_before: frozenset[HeldLock] = field(init=False)
    _acquired: dict[HeldLock, AcquiredLock] = field(factory=dict)
    # Every file that each relation has had, and the relations in which a scan has found rows.
    _files: dict[int, set[int]] = field(factory=dict)
    _filled: set[int] = field(factory=set)
    _asked_about: set[int] = field(factory=set)
    _unknown: set[int] = field(factory=set)

    @catalog.default
    def _get_catalog(self) -> Catalog:
        return self.state.catalog

    @held_before.default
    def _get_held(self) -> frozenset[HeldLock]:
        return self.state.held

    # Comparing snapshots.

    def take_unknown(self) -> set[int]:
        """Return the relations that were new since the last call, each only once per migration."""
        new, self._unknown = self._unknown - self._asked_about, set()
        self._asked_about |= new
        return new

    def compare(
        self, step: StatementTrace, snapshot: Snapshot, sql: str | None, since_ms: float, until_ms: float
    ) -> None:
        """Add to a step what has changed since the last snapshot. The times are the step's begin and end."""
        last = self.state.snapshot
        # A snapshot that an event trigger took has neither: keep the last ones for the next comparison.
        if snapshot.wal_bytes is None:
            snapshot = evolve(snapshot, wal_bytes=last.wal_bytes, search_path=last.search_path)
        change = self.state.take(snapshot)
        self._compare_locks(step, change.taken, change.released, since_ms, until_ms)
        self.note_facts(step, change.new, sql)
        _add_wal(step, last, snapshot)

    def note_reached(self, step: StatementTrace, snapshot: Snapshot, sql: str) -> None:
        """Add to a step what has changed of the relations that it reached: a snapshot of their facts only."""
        last = self.state.snapshot
        self.note_facts(step, tuple(map(Fact.parse, snapshot.facts)), sql)
        self.state.snapshot = evolve(snapshot, facts=last.facts)
        _add_wal(step, last, snapshot)

    def catch_up(self, snapshot: Snapshot) -> None:
        """Take a snapshot after steps that were traced without one: nothing in it is a later step's."""
        change = self.state.take(snapshot)
        self._asked_about.update(fact.oid for fact in change.new)
        self.state.scans |= {fact.oid: fact.scans for fact in change.new}
        # Not what the migration holds on relations that it has created itself.
        self.held_before |= {lock for lock in self.state.held if lock[0] in self.catalog.relations}

    def note_facts(self, step: StatementTrace, facts: Sequence[Fact], sql: str | None) -> None:
        """Add to a step the scans and new files in these facts, which are new since the last snapshot."""
        self._unknown.update(fact.oid for fact in facts if fact.oid not in self.catalog.relations)
        read, files = self._compare_scans(facts), self._find_new_files(facts)
        emptied = {
            oid
            for oid in files
            if not (step.clusters or step.rewrites.get(self.catalog.relations[oid].name))
            and is_truncate(self.catalog.relations[oid], read.get(oid), sql)
        }
        # TRUNCATE reads no row, but rebuilds each index with a scan of the new, empty file. It counts if the
        # table had rows.
        scanned = {
            self.catalog.find_table(oid)
            for oid, scans in read.items()
            if (
                is_populated(self.catalog, oid)
                if oid in emptied
                else is_complete_scan(self.catalog, oid, scans)
            )
        }
        rebuilt = self._note_rebuilt(step, files)
        rewritten = {oid for oid in files if self.catalog.relations[oid].kind in ("table", "matview")}
        step.rewrites |= {name: step.rewrites.get(name) for name in self.catalog.list_names(rewritten)}
        step.rewritten |= rewritten
        step.scans |= dict.fromkeys(self.catalog.list_names(scanned))
        unread = {oid for oid in read if self._was_read_empty(oid, read[oid])} - scanned - emptied
        step.empty_scans |= dict.fromkeys(self.catalog.list_names(unread))
        self._note_long_blocks(step, (scanned | unread) - emptied, (rewritten | rebuilt) - emptied)

    def note_built(self, step: StatementTrace, new: Mapping[int, NewIndex]) -> None:
        """Add the indexes that a step has built on relations that existed before."""
        tables = set()
        for index in new.values():
            table = self.catalog.relations.get(index.table_oid)
            if table is None or self._keeps_a_file(index):
                continue
            step.builds[index.name] = IndexBuild(index.name, table.name, new=True)
            tables.add(index.table_oid)
            if index.waits_for_transactions:
                step.warnings.append(
                    f"{index.name} is not used until this transaction ends (indcheckxmin): later statements "
                    "of this rehearsal may be slower than in a run"
                )
        # An index of a partitioned table is built only if a partition's index is: ON ONLY builds none.
        leaves = {oid for oid in tables if not self.catalog.relations[oid].partitioned}
        above = {oid for oid in tables - leaves if leaves & self.catalog.find_descendants(oid)}
        self._note_long_blocks(step, (), leaves | above)

    def _keeps_a_file(self, index: NewIndex) -> bool:
        """Return True if a new index uses the file of an old one: then nothing was built."""
        return index.filenode > 0 and any(
            known.filenode == index.filenode or index.filenode in self._files.get(oid, ())
            for oid, known in self.catalog.relations.items()
            if known.kind == "index"
        )

    def note_held_before(self, step: StatementTrace, locks: Iterable[HeldLock], since_ms: float) -> None:
        """Add locks that earlier migrations of the plan hold in the same mode."""
        for oid, mode in locks:
            self.note_lock(step, oid, mode, "held-before", since_ms)

    def note_sampled(
        self, step: StatementTrace, locks: Iterable[HeldLock], since_ms: float, until_ms: float
    ) -> None:
        """Add locks that another connection saw, and that were released before the step ended."""
        seen = {(acquired.relation.oid, acquired.mode) for acquired in step.acquired}
        for oid, mode in sorted(locks):
            known = self.catalog.relations.get(oid)
            if known and (oid, mode) not in seen and (oid, mode) not in self.state.held:
                step.acquired.append(AcquiredLock(known, mode, "sampled", since_ms, until_ms))

    def note_unseen(self, unseen: Iterable[NotSeen]) -> None:
        """Add what could not be observed, unless it is there already."""
        qualified = dict.fromkeys(evolve(gap, relation=self._qualify(gap.relation)) for gap in unseen)
        self.not_seen += [gap for gap in qualified if gap not in self.not_seen]

    def _qualify(self, name: str | None) -> str | None:
        """Return a name from SQL text with its schema, if the relation existed before."""
        if name is None:
            return None
        path, known = self.state.snapshot.search_path, self.catalog.relations.values()
        in_path = (relation.name for schema in path for relation in known if relation.schema == schema)
        return next((qualified for qualified in in_path if qualified.endswith(f".{name}")), name)

    def note_rewrite_reasons(self, step: StatementTrace, reasons: Mapping[int, str]) -> None:
        """Add why tables were rewritten, including rewrites that an EXCEPTION block rolled back."""
        for oid, reason in reasons.items():
            if known := self.catalog.relations.get(oid):
                step.rewrites[known.name] = reason

    def end(self, before: frozenset[HeldLock], held: frozenset[HeldLock], at_ms: float) -> None:
        """Compare with the locks just before the end: deferred triggers have taken locks too."""
        step = StatementTrace()
        self._compare_locks(step, held - before, before - held, at_ms, at_ms)
        if step.acquired:
            self.steps.append(step)
        self.end_ms = at_ms

    # Locks.

    def note_lock(self, step: StatementTrace, oid: int, mode: str, seen: Seen, since_ms: float) -> None:
        """Add a lock if it is stronger than those that this migration holds on the relation."""
        known = self.catalog.relations.get(oid)
        if known and LockMode[mode] > self._find_strength(oid):
            acquired = AcquiredLock(known, mode, seen, since_ms)
            self._acquired[oid, mode] = acquired
            step.acquired.append(acquired)

    def _compare_locks(
        self,
        step: StatementTrace,
        taken: frozenset[HeldLock],
        released: frozenset[HeldLock],
        since_ms: float,
        until_ms: float,
    ) -> None:
        for oid, mode in released:
            if acquired := self._acquired.pop((oid, mode), None):
                acquired.until_ms = until_ms
        for oid, mode in sorted(taken, key=lambda lock: LockMode[lock[1]]):
            # Else an earlier migration holds this mode, or a stronger one, already.
            stronger = LockMode[mode] > _find_strongest(self.held_before, oid)
            self.note_lock(step, oid, mode, "measured" if stronger else "held-before", since_ms)

    def _find_strength(self, oid: int) -> int:
        return _find_strongest(self._acquired, oid)

    def _note_long_blocks(self, step: StatementTrace, scanned: Iterable[int], built: Iterable[int]) -> None:
        """Add the relations that a step scanned or rewrote in full while they were blocked and held rows."""
        worked_on = {*scanned, *built}
        blocked = worked_on & find_blocking(self.catalog, self._acquired).either if worked_on else worked_on
        # In a transaction no table is rewritten or built without a lock. It may be unseen: the transaction
        # holds a stronger one if an earlier migration of the plan created the table. A materialized view has
        # no writes, so building its index blocks nothing.
        blocked |= {oid for oid in built if self.catalog.relations[oid].kind != "matview"}
        long = {oid for oid in blocked if oid in self._filled or is_populated(self.catalog, oid)}
        step.long_blocks |= dict.fromkeys(self.catalog.list_names(long))
        step.empty_blocks |= dict.fromkeys(self.catalog.list_names(blocked - long))

    def _was_read_empty(self, oid: int, scans: ScanCounts) -> bool:
        """Return True if a table was read from end to end and had no row: the counters show a pass only."""
        known = self.catalog.relations[oid]
        stores = known.kind in ("table", "matview") and not known.partitioned
        return stores and not (scans.tuples or oid in self._filled or is_populated(self.catalog, oid))

    # Scans and files.

    def _compare_scans(self, facts: Iterable[Fact]) -> dict[int, ScanCounts]:
        """Return the scans since the last snapshot, of relations that existed before."""
        read = {}
        for oid, scans in {fact.oid: fact.scans for fact in facts}.items():
            before = self.state.scans.get(oid, ScanCounts())
            if scans.times > before.times and oid in self.catalog.relations:
                read[oid] = ScanCounts(scans.times - before.times, scans.tuples - before.tuples)
                if read[oid].tuples:
                    # An earlier migration of the plan may have filled it: PostgreSQL's estimates do not
                    # know that yet.
                    self._filled.add(oid)
            self.state.scans[oid] = scans
        return read

    def _find_new_files(self, facts: Iterable[Fact]) -> set[int]:
        """Return the relations that have a new file; a rollback to an old file does not count."""
        new = set()
        for oid, filenode in {(fact.oid, fact.filenode) for fact in facts}:
            known = self.catalog.relations.get(oid)
            if known is None or not filenode or not known.filenode or known.kind == "toast":
                continue
            files = self._files.setdefault(oid, {known.filenode})
            if filenode not in files:
                files.add(filenode)
                new.add(oid)
        return new

    def _note_rebuilt(self, step: StatementTrace, files: Iterable[int]) -> set[int]:
        """Add the indexes that have a new file; return their tables."""
        tables = set()
        for oid in sorted(files):
            index = self.catalog.relations[oid]
            if index.kind == "index":
                table = self.catalog.find_table(oid)
                step.builds[index.name] = IndexBuild(
                    index.name, self.catalog.relations[table].name, new=False
                )
                tables.add(table)
        return tables


def _add_wal(step: StatementTrace, last: Snapshot, now: Snapshot) -> None:
    if now.wal_bytes is not None and last.wal_bytes is not None:
        step.wal_bytes = (step.wal_bytes or 0) + now.wal_bytes - last.wal_bytes


def _find_strongest(held: Container[HeldLock], oid: int) -> int:
    return max((LockMode[mode] for mode in STRONG_MODES if (oid, mode) in held), default=0)
