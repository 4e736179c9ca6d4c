"""A shop whose orders are many, and a no-transaction migration whose read model is filled in batches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import field, frozen

import confiture
import confiture_backfill
from confiture.config import Settings
from confiture.core import operations
from confiture.models.report import Report
from confiture.plugins.loading import Loaded

SOURCES = [str(Path(each.__file__).parents[1]) for each in (confiture, confiture_backfill)]
NO_TRANSACTION = "-- confiture: no-transaction\n"
LOADED = Loaded("backfill", "confiture-backfill", "0.1.0", confiture_backfill.plugin, ("after_ddl",))
TABLE = "CREATE TABLE r_order (id bigint, cents bigint);\n"


@frozen
class Shop:
    """A folder with migrations, the database they are for, and the plugin's table of the configuration."""

    root: Path
    url: str
    config: dict[str, Any] = field(factory=dict)

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    def write(self, name: str, text: str) -> None:
        (self.migrations / name).write_text(text)

    def backfill(self, insert: str, **directives: object) -> None:
        """Write migration ``1 orders``, with what fills ``r_order`` beside it."""
        given = {"table": "r_order", "batch-source": "w_order", "batch-column": "id", **directives}
        lines = "".join(
            f"-- backfill: {key.replace('_', '-')}={value}\n" for key, value in given.items() if value is not None
        )
        if not list(self.migrations.glob("1_orders.up.sql")):
            self.write("1_orders.up.sql", NO_TRANSACTION + TABLE)
        self.write("1_orders.backfill.sql", lines + insert)

    def run(self, *more: Loaded, dry_run: bool = False, **settings: Any) -> Report:
        """Apply what is pending, in this process."""
        given = {"root": self.root, "url": self.url, "migrations": self.migrations}
        tables = {"plugin_tables": {"backfill": self.config}}
        return operations.run(
            Settings(**{**given, **tables, **settings}), plugins=(LOADED, *more), dry_run=dry_run
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the real command, with the plugin installed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        path = os.pathsep.join([*SOURCES, str(self._site())])
        return subprocess.Popen(
            [sys.executable, "-m", "confiture", *words],
            cwd=self.root,
            env={**kept, "PYTHONPATH": path, "CONFITURE_DATABASE_URL": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _site(self) -> Path:
        """Return a folder in which the plugin is installed as pip leaves an editable one."""
        info = self.root / "site" / "confiture_backfill-0.1.0.dist-info"
        if not info.exists():
            info.mkdir(parents=True)
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: confiture-backfill\nVersion: 0.1.0\n")
            (info / "entry_points.txt").write_text("[confiture]\nbackfill = confiture_backfill:plugin\n")
        return info.parent


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Shop:
    """An empty folder of migrations beside an empty database."""
    (tmp_path / "migrations").mkdir()
    return Shop(tmp_path, database_url)


@pytest.fixture
def orders(database: psycopg.Connection[Any]) -> Callable[[int], None]:
    """Fill a write table with so many orders."""

    def fill(number: int) -> None:
        database.execute("CREATE TABLE w_order (id bigint PRIMARY KEY, cents bigint)")
        database.execute("INSERT INTO w_order SELECT n, n %% 997 FROM generate_series(1, %s) n", [number])

    return fill
