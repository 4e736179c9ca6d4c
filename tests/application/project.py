"""Writes the application as a project: SQL files in four folders, migrations, and the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.application.cqrs_seeds import list_cqrs_seeds
from tests.application.seeds import Seed
from tests.application.sound import SqlFile, list_sound_files
from tests.application.structure_seeds import list_structure_seeds
from tests.application.tenancy_seeds import list_tenancy_seeds

CONFIGURATION = """\
[schema]
schemas = ["public"]

[schema.cqrs]
write = ["w_*"]
read = ["r_*"]
neutral = ["c_*", "audit_log", "entity_change_log"]
functions = ["fn_*"]
sources = { r_order_radar = ["w_orders"] }
filled = { r_order_import = "the nightly import" }

[schema.tenancy]
tables = ["w_*", "r_*", "audit_log", "entity_change_log"]
type = "uuid"

[schema.structure]
comments = ["table", "column", "view", "function"]
"""
_IGNORE = '-- confiture: ignore cqrs-refill reason="the list does not show it"\n'
# Each with the read models whose missing refill is to be found.
MIGRATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "0001_time_entry_note.sql": (
        "ALTER TABLE w_time_entries ADD COLUMN note text;\n",
        ("timesheets", "hours_by_employee"),
    ),
    "0002_lead_rename.sql": (
        "ALTER TABLE w_leads RENAME COLUMN source TO origin;\n",
        ("lead_list", "pipeline"),
    ),
    "0003_role_backfill.sql": ("UPDATE w_roles SET name = lower(name);\n", ("user_list",)),
    "0004_consent_note.sql": (
        "ALTER TABLE w_consents ADD COLUMN note text;\nSELECT fn_rebuild_consent_overview(id) FROM c_tenants;\n",
        (),
    ),
    "0005_webhook_note.sql": (
        "ALTER TABLE w_webhook_deliveries ADD COLUMN note text;\n"
        "UPDATE r_webhook_log SET content = content || '{\"note\": null}';\n",
        (),
    ),
    "0006_campaign_note.sql": (f"{_IGNORE}ALTER TABLE w_contracts ADD COLUMN note text;\n", ()),
    # The trigger of the table fills it.
    "0007_expense_clean.sql": ("DELETE FROM w_expenses WHERE amount = 0;\n", ()),
    "0008_tasks_index.sql": ("CREATE INDEX w_tasks_due ON w_tasks (tenant_id, due_on);\n", ()),
    "0009_currency.sql": ("UPDATE c_currencies SET decimals = 2;\n", ()),
    "0010_returns_note.sql": ("ALTER TABLE w_returns ADD COLUMN note text;\n", ()),
    "0011_ticket_state.sql": (
        "ALTER TABLE w_tickets ADD COLUMN state text;\nREFRESH MATERIALIZED VIEW r_ticket_statistics;\n"
        "DO $$ BEGIN\n    INSERT INTO r_ticket_list (tenant_id, content) SELECT tenant_id, '{}' FROM w_tickets;\n"
        "    UPDATE r_ticket_threads SET refreshed_at = now();\nEND $$;\n",
        (),
    ),
    "0012_department_note.sql": ("ALTER TABLE w_departments ADD COLUMN note text;\n", ("employee_list",)),
}
BACKFILLS = {
    "0010_returns_note.backfill.sql": "-- backfill: table=r_return_list\nINSERT INTO r_return_list SELECT 1;\n",
    "0013_order_history.backfill.sql": "-- backfill: table=r_order_history\nINSERT INTO r_order_history SELECT 1;\n",
}


def list_seeds() -> Iterator[Seed]:
    """Yield all seeded faults and twins."""
    yield from list_structure_seeds()
    yield from list_tenancy_seeds()
    yield from list_cqrs_seeds()


def list_files(*, seeded: bool = True) -> list[SqlFile]:
    """Return all files in the order in which they are applied."""
    seeds = list_seeds() if seeded else ()
    files = [*list_sound_files(), *(file for seed in seeds for file in seed.files)]
    return sorted(files, key=lambda file: (file.folder, file.step))


def list_expected() -> list[tuple[str, str, str]]:
    """Return what is to be found: the rule, the object, and a word of the message."""
    found = [expected for seed in list_seeds() for expected in seed.expected]
    found += [
        ("cqrs-refill", f"public.r_{model}", "") for _, models in MIGRATIONS.values() for model in models
    ]
    return found


def write_project(folder: Path, *, seeded: bool = True) -> list[Path]:
    """Write the project, and return its SQL files in the order in which they are applied."""
    written = []
    for number, file in enumerate(list_files(seeded=seeded), start=1):
        path = folder / file.folder / f"{number:04}_{file.name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.sql, encoding="utf-8")
        written.append(path)
    (folder / "confiture.toml").write_text(CONFIGURATION, encoding="utf-8")
    migrations = folder / "migrations"
    migrations.mkdir(exist_ok=True)
    texts = {name: sql for name, (sql, _) in MIGRATIONS.items()}
    for name, sql in {**texts, **BACKFILLS}.items():
        (migrations / name).write_text(sql, encoding="utf-8")
    return written
