"""Follow one migration from look to look: what is new since the last is what the step between did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, evolve, field

from confiture.models.lock_mode import LockMode
from confiture.models.report import IndexBuild, NotSeen, Seen
from confiture.rehearsal.trace.blocking import blocking
from confiture.rehearsal.trace.catalog import Catalog
from confiture.rehearsal.trace.scans import complete, is_truncate, populated
from confiture.rehearsal.trace.snapshot import Held, Look, NewIndex, Scans
from confiture.rehearsal.trace.steps import Step, Taken


@define
class Following:
    """One migration, from its begin on.

    Attributes:
        catalog: What there was before it.
        last: The last look.
        scans: How often each relation has been scanned in this transaction.
        steps: What its statements and hooks did, in order.
        end_ms: When it ended, on the clock of the steps.
        not_seen: What could not be observed.
    """

    catalog: Catalog = field(factory=Catalog)
    last: Look = field(factory=Look)
    scans: dict[int, Scans] = field(factory=dict)
    steps: list[Step] = field(factory=list)
    end_ms: float = 0.0
    not_seen: list[NotSeen] = field(factory=list)
    before: frozenset[Held] = field(init=False)
    _taken: dict[Held, Taken] = field(factory=dict)
    _files: dict[int, set[int]] = field(factory=dict)
    _filled: set[int] = field(factory=set)
    _named: set[int] = field(init=False)

    @before.default
    def _held_at_begin(self) -> frozenset[Held]:
        return self.last.held

    @_named.default
    def _locked_at_begin(self) -> set[int]:
        return set(self.last.locked)

    # One look after the other.

    def unknown(self, now: Look) -> frozenset[int]:
        """Return the relations that were not there before, and were not asked about yet."""
        new = now.locked - self._named - self.catalog.known.keys()
        self._named |= new
        return new

    def compare(self, step: Step, now: Look, sql: str | None, since_ms: float, until_ms: float) -> None:
        """Note what has changed since the last look; the step began and ended then."""
        self._held(step, now.held, since_ms, until_ms)
        read, files = self._read(now), self._new_files(now)
        emptied = {oid for oid in files if is_truncate(self.catalog.known[oid], read.get(oid), sql)}
        scanned = {
            self.catalog.table_of(oid)
            for oid, scans in read.items()
            if (populated(self.catalog, oid) if oid in emptied else complete(self.catalog, oid, scans))
        }
        rebuilt = self._rebuilt(step, files)
        rewritten = {oid for oid in files if self.catalog.known[oid].kind in ("table", "matview")}
        step.rewrites |= {name: step.rewrites.get(name) for name in self.catalog.names(rewritten)}
        step.rewritten |= rewritten
        step.scans |= dict.fromkeys(self.catalog.names(scanned))
        self._judge(step, (scanned | rewritten | rebuilt) - emptied)
        if now.wal is not None and self.last.wal is not None:
            step.wal_bytes = (step.wal_bytes or 0) + now.wal - self.last.wal
        inner = now.wal is None
        self.last = evolve(now, wal=self.last.wal, search_path=self.last.search_path) if inner else now

    def built(self, step: Step, new: Mapping[int, NewIndex]) -> None:
        """Note the indexes that a step has made on relations that there were."""
        tables = set()
        for index in new.values():
            table = self.catalog.known.get(index.table)
            if table is None or self._keeps_a_file(index):
                continue
            step.builds[index.name] = IndexBuild(index.name, table.name, new=True)
            tables.add(index.table)
            if index.waits:
                step.warnings.append(
                    f"{index.name} is not used before this transaction ends (indcheckxmin): what comes "
                    "later in this rehearsal may be slower than it will be"
                )
        leaves = {oid for oid in tables if not self.catalog.known[oid].partitioned}
        above = {oid for oid in tables - leaves if leaves & self.catalog.descendants(oid)}
        self._judge(step, leaves | above)

    def _keeps_a_file(self, index: NewIndex) -> bool:
        """Whether a new index has the file of one that there was: then nothing was built."""
        return index.filenode > 0 and any(
            known.filenode == index.filenode or index.filenode in self._files.get(oid, ())
            for oid, known in self.catalog.known.items()
            if known.kind == "index"
        )

    def held_already(self, step: Step, each: Iterable[Held], since_ms: float) -> None:
        """Note locks that earlier migrations of the plan hold in the same mode."""
        for oid, mode in each:
            self.take(step, oid, mode, "held-before", since_ms)

    def sampled(self, step: Step, each: Iterable[Held], since_ms: float, until_ms: float) -> None:
        """Note locks that an observer saw, and that were given back before the step ended."""
        seen = {(taken.known.oid, taken.mode) for taken in step.taken}
        for oid, mode in sorted(each):
            known = self.catalog.known.get(oid)
            if known and (oid, mode) not in seen and (oid, mode) not in self.last.held:
                step.taken.append(Taken(known, mode, "sampled", since_ms, until_ms))

    def unseen(self, each: Iterable[NotSeen]) -> None:
        """Note what could not be observed, once."""
        named = dict.fromkeys(evolve(one, relation=self._qualified(one.relation)) for one in each)
        self.not_seen += [one for one in named if one not in self.not_seen]

    def _qualified(self, name: str | None) -> str | None:
        """Return the relation that SQL text names with its schema, where there was one."""
        if name is None:
            return None
        path, known = self.last.search_path, self.catalog.known.values()
        each = (one.name for schema in path for one in known if one.schema == schema)
        return next((found for found in each if found.endswith(f".{name}")), name)

    def explain(self, step: Step, reasons: Mapping[int, str]) -> None:
        """Note why tables were rewritten, those included whose rewrite was rolled back within."""
        for oid, reason in reasons.items():
            if known := self.catalog.known.get(oid):
                step.rewrites[known.name] = reason

    def end(self, held: frozenset[Held], at_ms: float) -> None:
        """Take what is held just before the end: deferred triggers take locks too."""
        step = Step()
        self._held(step, held, at_ms, at_ms)
        if step.taken:
            self.steps.append(step)
        self.end_ms = at_ms

    # Locks.

    def take(self, step: Step, oid: int, mode: str, seen: Seen, since_ms: float) -> None:
        """Note a lock, where it is stronger than what this migration holds on the relation."""
        known = self.catalog.known.get(oid)
        if known and LockMode[mode] > self._strength(oid):
            taken = Taken(known, mode, seen, since_ms)
            self._taken[oid, mode] = taken
            step.taken.append(taken)

    def _held(self, step: Step, held: frozenset[Held], since_ms: float, until_ms: float) -> None:
        for oid, mode in self.last.held - held:
            if taken := self._taken.pop((oid, mode), None):
                taken.until_ms = until_ms
        for oid, mode in sorted(held - self.last.held, key=lambda each: LockMode[each[1]]):
            stronger = LockMode[mode] > _strongest(self.before, oid)
            self.take(step, oid, mode, "measured" if stronger else "held-before", since_ms)

    def _strength(self, oid: int) -> int:
        return _strongest(self._taken, oid)

    def _judge(self, step: Step, touched: Iterable[int]) -> None:
        """Note which of the relations that a step worked through were blocked meanwhile."""
        long = {oid for oid in touched if oid in self._filled or populated(self.catalog, oid)}
        long &= blocking(self.catalog, self._taken).any if long else long
        step.long_blocks |= dict.fromkeys(self.catalog.names(long))

    # Scans and files.

    def _read(self, now: Look) -> dict[int, Scans]:
        """Return the scans since the last look, of relations that there were."""
        read = {}
        for oid, scans in now.scans.items():
            before = self.scans.get(oid, Scans())
            if scans.times > before.times and oid in self.catalog.known:
                read[oid] = Scans(scans.times - before.times, scans.tuples - before.tuples)
                if read[oid].tuples:
                    # PostgreSQL's estimates know nothing of what was filled a moment ago.
                    self._filled.add(oid)
            self.scans[oid] = scans
        return read

    def _new_files(self, now: Look) -> set[int]:
        """Return the relations with a file that they did not have before; one they go back to is none."""
        new = set()
        for oid, filenode in now.filenodes.items() - self.last.filenodes.items():
            known = self.catalog.known.get(oid)
            if known is None or not filenode or not known.filenode or known.kind == "toast":
                continue
            files = self._files.setdefault(oid, {known.filenode})
            if filenode not in files:
                files.add(filenode)
                new.add(oid)
        return new

    def _rebuilt(self, step: Step, files: Iterable[int]) -> set[int]:
        """Note the indexes with a new file; return their tables."""
        tables = set()
        for oid in files:
            index = self.catalog.known[oid]
            if index.kind == "index":
                table = self.catalog.table_of(oid)
                step.builds[index.name] = IndexBuild(index.name, self.catalog.known[table].name, new=False)
                tables.add(table)
        return tables


def _strongest(held: Iterable[Held], oid: int) -> int:
    return max((LockMode[mode] for each, mode in held if each == oid), default=0)
