"""Follow one migration from look to look: what is new since the last is what the step between did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, evolve, field

from confiture.models.lock_mode import LockMode
from confiture.models.report import IndexBuild, NotSeen, Seen
from confiture.rehearsal.trace.blocked_access import find_blocking
from confiture.rehearsal.trace.catalog import Catalog
from confiture.rehearsal.trace.scans import is_complete_scan, is_populated, is_truncate
from confiture.rehearsal.trace.snapshot import HeldLock, NewIndex, ScanCounts, Snapshot
from confiture.rehearsal.trace.steps import AcquiredLock, StatementTrace


@define
class MigrationTrace:
    """One migration, from its begin on.

    Attributes:
        catalog: What there was before it.
        last_snapshot: The last look.
        scans: How often each relation has been scanned in this transaction.
        steps: What its statements and hooks did, in order.
        end_ms: When it ended, on the clock of the steps.
        not_seen: What could not be observed.
    """

    catalog: Catalog = field(factory=Catalog)
    last_snapshot: Snapshot = field(factory=Snapshot)
    scans: dict[int, ScanCounts] = field(factory=dict)
    steps: list[StatementTrace] = field(factory=list)
    end_ms: float = 0.0
    not_seen: list[NotSeen] = field(factory=list)
    held_before: frozenset[HeldLock] = field(init=False)
    _acquired: dict[HeldLock, AcquiredLock] = field(factory=dict)
    _files: dict[int, set[int]] = field(factory=dict)
    _filled: set[int] = field(factory=set)
    _asked_about: set[int] = field(init=False)

    @held_before.default
    def _copy_held(self) -> frozenset[HeldLock]:
        return self.last_snapshot.held

    @_asked_about.default
    def _copy_locked(self) -> set[int]:
        return set(self.last_snapshot.locked)

    # One look after the other.

    def take_unknown(self, snapshot: Snapshot) -> frozenset[int]:
        """Return the relations that were not there before, and were not asked about yet."""
        new = snapshot.locked - self._asked_about - self.catalog.relations.keys()
        self._asked_about |= new
        return new

    def compare(
        self, step: StatementTrace, snapshot: Snapshot, sql: str | None, since_ms: float, until_ms: float
    ) -> None:
        """Note what has changed since the last look; the step began and ended then."""
        self._compare_locks(step, snapshot.held, since_ms, until_ms)
        read, files = self._compare_scans(snapshot), self._find_new_files(snapshot)
        emptied = {oid for oid in files if is_truncate(self.catalog.relations[oid], read.get(oid), sql)}
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
        self._note_long_blocks(step, (scanned | rewritten | rebuilt) - emptied)
        if snapshot.wal_bytes is not None and self.last_snapshot.wal_bytes is not None:
            step.wal_bytes = (step.wal_bytes or 0) + snapshot.wal_bytes - self.last_snapshot.wal_bytes
        inner = snapshot.wal_bytes is None
        self.last_snapshot = (
            evolve(
                snapshot, wal_bytes=self.last_snapshot.wal_bytes, search_path=self.last_snapshot.search_path
            )
            if inner
            else snapshot
        )

    def note_built(self, step: StatementTrace, new: Mapping[int, NewIndex]) -> None:
        """Note the indexes that a step has made on relations that there were."""
        tables = set()
        for index in new.values():
            table = self.catalog.relations.get(index.table_oid)
            if table is None or self._keeps_a_file(index):
                continue
            step.builds[index.name] = IndexBuild(index.name, table.name, new=True)
            tables.add(index.table_oid)
            if index.waits_for_transactions:
                step.warnings.append(
                    f"{index.name} is not used before this transaction ends (indcheckxmin): what comes "
                    "later in this rehearsal may be slower than it will be"
                )
        leaves = {oid for oid in tables if not self.catalog.relations[oid].partitioned}
        above = {oid for oid in tables - leaves if leaves & self.catalog.find_descendants(oid)}
        self._note_long_blocks(step, leaves | above)

    def _keeps_a_file(self, index: NewIndex) -> bool:
        """Whether a new index has the file of one that there was: then nothing was built."""
        return index.filenode > 0 and any(
            known.filenode == index.filenode or index.filenode in self._files.get(oid, ())
            for oid, known in self.catalog.relations.items()
            if known.kind == "index"
        )

    def note_held_before(self, step: StatementTrace, locks: Iterable[HeldLock], since_ms: float) -> None:
        """Note locks that earlier migrations of the plan hold in the same mode."""
        for oid, mode in locks:
            self.note_lock(step, oid, mode, "held-before", since_ms)

    def note_sampled(
        self, step: StatementTrace, locks: Iterable[HeldLock], since_ms: float, until_ms: float
    ) -> None:
        """Note locks that an observer saw, and that were given back before the step ended."""
        seen = {(taken.relation.oid, taken.mode) for taken in step.acquired}
        for oid, mode in sorted(locks):
            known = self.catalog.relations.get(oid)
            if known and (oid, mode) not in seen and (oid, mode) not in self.last_snapshot.held:
                step.acquired.append(AcquiredLock(known, mode, "sampled", since_ms, until_ms))

    def note_unseen(self, unseen: Iterable[NotSeen]) -> None:
        """Note what could not be observed, once."""
        named = dict.fromkeys(evolve(one, relation=self._qualify(one.relation)) for one in unseen)
        self.not_seen += [one for one in named if one not in self.not_seen]

    def _qualify(self, name: str | None) -> str | None:
        """Return the relation that SQL text names with its schema, where there was one."""
        if name is None:
            return None
        path, known = self.last_snapshot.search_path, self.catalog.relations.values()
        each = (one.name for schema in path for one in known if one.schema == schema)
        return next((found for found in each if found.endswith(f".{name}")), name)

    def note_rewrite_reasons(self, step: StatementTrace, reasons: Mapping[int, str]) -> None:
        """Note why tables were rewritten, those included whose rewrite was rolled back within."""
        for oid, reason in reasons.items():
            if known := self.catalog.relations.get(oid):
                step.rewrites[known.name] = reason

    def end(self, held: frozenset[HeldLock], at_ms: float) -> None:
        """Take what is held just before the end: deferred triggers take locks too."""
        step = StatementTrace()
        self._compare_locks(step, held, at_ms, at_ms)
        if step.acquired:
            self.steps.append(step)
        self.end_ms = at_ms

    # Locks.

    def note_lock(self, step: StatementTrace, oid: int, mode: str, seen: Seen, since_ms: float) -> None:
        """Note a lock, where it is stronger than what this migration holds on the relation."""
        known = self.catalog.relations.get(oid)
        if known and LockMode[mode] > self._find_strength(oid):
            taken = AcquiredLock(known, mode, seen, since_ms)
            self._acquired[oid, mode] = taken
            step.acquired.append(taken)

    def _compare_locks(
        self, step: StatementTrace, held: frozenset[HeldLock], since_ms: float, until_ms: float
    ) -> None:
        for oid, mode in self.last_snapshot.held - held:
            if taken := self._acquired.pop((oid, mode), None):
                taken.until_ms = until_ms
        for oid, mode in sorted(held - self.last_snapshot.held, key=lambda lock: LockMode[lock[1]]):
            stronger = LockMode[mode] > _find_strongest(self.held_before, oid)
            self.note_lock(step, oid, mode, "measured" if stronger else "held-before", since_ms)

    def _find_strength(self, oid: int) -> int:
        return _find_strongest(self._acquired, oid)

    def _note_long_blocks(self, step: StatementTrace, touched: Iterable[int]) -> None:
        """Note which of the relations that a step worked through were blocked meanwhile."""
        long = {oid for oid in touched if oid in self._filled or is_populated(self.catalog, oid)}
        long &= find_blocking(self.catalog, self._acquired).either if long else long
        step.long_blocks |= dict.fromkeys(self.catalog.list_names(long))

    # Scans and files.

    def _compare_scans(self, snapshot: Snapshot) -> dict[int, ScanCounts]:
        """Return the scans since the last look, of relations that there were."""
        read = {}
        for oid, scans in snapshot.scans.items():
            before = self.scans.get(oid, ScanCounts())
            if scans.times > before.times and oid in self.catalog.relations:
                read[oid] = ScanCounts(scans.times - before.times, scans.tuples - before.tuples)
                if read[oid].tuples:
                    # PostgreSQL's estimates know nothing of what was filled a moment ago.
                    self._filled.add(oid)
            self.scans[oid] = scans
        return read

    def _find_new_files(self, snapshot: Snapshot) -> set[int]:
        """Return the relations with a file that they did not have before; one they go back to is none."""
        new = set()
        for oid, filenode in snapshot.filenodes.items() - self.last_snapshot.filenodes.items():
            known = self.catalog.relations.get(oid)
            if known is None or not filenode or not known.filenode or known.kind == "toast":
                continue
            files = self._files.setdefault(oid, {known.filenode})
            if filenode not in files:
                files.add(filenode)
                new.add(oid)
        return new

    def _note_rebuilt(self, step: StatementTrace, files: Iterable[int]) -> set[int]:
        """Note the indexes with a new file; return their tables."""
        tables = set()
        for oid in files:
            index = self.catalog.relations[oid]
            if index.kind == "index":
                table = self.catalog.find_table(oid)
                step.builds[index.name] = IndexBuild(
                    index.name, self.catalog.relations[table].name, new=False
                )
                tables.add(table)
        return tables


def _find_strongest(held: Iterable[HeldLock], oid: int) -> int:
    return max((LockMode[mode] for number, mode in held if number == oid), default=0)
