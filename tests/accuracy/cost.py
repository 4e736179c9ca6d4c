"""What a rehearsal costs beside applying: both in one run, in turns, and the medians compared."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from attrs import frozen

from confiture.api import operations
from confiture.config.settings import Settings
from confiture.models.report import Report
from confiture.testing.databases import TemplateDatabases
from tests.accuracy.figures import Figure

SLOW_MS = 50.0
RATIO = 1.15
ADDED_MS = 1.0
ROUNDS = 5
_ROWS = 300_000
_HELD = 100
_CHEAP = 200

_BIG = (
    "CREATE TABLE big(id bigint PRIMARY KEY, v int NOT NULL, note text);"
    f" INSERT INTO big SELECT g, g, 'note ' || g FROM generate_series(1, {_ROWS}) g;"
    " CREATE TABLE archive(id bigint, v bigint, note text);"
)
_SLOW = (
    "ALTER TABLE big ADD COLUMN r double precision DEFAULT random()",
    "CREATE INDEX big_r ON big(r)",
    "UPDATE big SET note = note || '!' WHERE id % 2 = 0",
    "INSERT INTO archive SELECT id, v, note FROM big",
    "ALTER TABLE big ALTER COLUMN v TYPE bigint",
)
_MANY = " ".join(f"CREATE TABLE t{number}(id int);" for number in range(_HELD))
_HOLDING = (
    f"LOCK TABLE {', '.join(f't{number}' for number in range(_HELD))} IN SHARE MODE",
    *(f"COMMENT ON COLUMN t{number % _HELD}.id IS 'number {number}'" for number in range(_CHEAP)),
)


@frozen
class Took:
    """The medians of both, and the shortest statement seen in a rehearsal, in milliseconds."""

    applying_ms: float
    rehearsing_ms: float
    shortest_ms: float


def measure_costs(templates: TemplateDatabases) -> tuple[Figure, ...]:
    """Return what a rehearsal costs as figures."""
    slow = measure_cost(templates, _BIG, _SLOW)
    cheap = measure_cost(templates, _MANY, _HOLDING)
    ratio = slow.rehearsing_ms / slow.applying_ms
    added_ms = (cheap.rehearsing_ms - cheap.applying_ms) / len(_HOLDING)
    if slow.shortest_ms < SLOW_MS:
        raise SystemExit(
            f"a statement took {slow.shortest_ms:.0f} ms: nothing is known of those of {SLOW_MS:g}"
        )
    return (
        Figure(
            f"cost: statements of {SLOW_MS:.0f} ms and more",
            f"{ratio:.2f} x applying ({slow.rehearsing_ms:.0f} against {slow.applying_ms:.0f} ms)",
            f"{RATIO} at most",
            ratio <= RATIO,
        ),
        Figure(
            f"cost: others, {_HELD} locks held",
            f"{added_ms:.2f} ms a statement more",
            f"{ADDED_MS:g} ms at most",
            added_ms <= ADDED_MS,
        ),
    )


def measure_cost(templates: TemplateDatabases, setup: str, statements: Sequence[str]) -> Took:
    """Apply and rehearse the same plan in turns, each on a fresh database."""
    template = templates.get_template(setup + " ANALYZE;")
    applying, rehearsing, shortest = [], [], []
    for _ in range(ROUNDS):
        applying.append(_measure_once(templates, template, statements, dry_run=False)[0])
        each_ms, report = _measure_once(templates, template, statements, dry_run=True)
        rehearsing.append(each_ms)
        shortest.append(min(line.duration_ms for line in report.migrations[0].statements))
    return Took(median(applying), median(rehearsing), median(shortest))


def _measure_once(
    templates: TemplateDatabases, template: str, statements: Sequence[str], *, dry_run: bool
) -> tuple[float, Report]:
    name = templates.copy(template)
    with tempfile.TemporaryDirectory() as folder:
        migrations = Path(folder, "migrations")
        migrations.mkdir()
        (migrations / "1_plan.sql").write_text(";\n".join(statements), encoding="utf-8")
        settings = Settings(root=Path(folder), url=templates.server.conninfo(name), migrations=migrations)
        began = time.perf_counter()
        report = operations.run(settings, dry_run=dry_run)
        took_ms = (time.perf_counter() - began) * 1000
    templates.drop(name)
    if report.exit_code:
        raise SystemExit(f"the plan failed: {report.migrations[0].error}")
    return took_ms, report
