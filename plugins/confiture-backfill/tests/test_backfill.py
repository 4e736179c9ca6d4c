"""A read model is filled whole, again and again, or the migration stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture.hooks.api import HookError, HookResult
from confiture.hooks.hook_context import HookContext
from confiture.plugins.kit import PluginSettingsFault
from confiture.testing import run_hook
from confiture_backfill import plugin
from confiture_backfill.errors import BackfillFailed, IncompleteBackfill

Database = psycopg.Connection[Any]

INSERT = "INSERT INTO r_value SELECT customer, sum(cents) FROM w_orders GROUP BY 1"
UPSERT = f"{INSERT} ON CONFLICT (customer) DO UPDATE SET cents = excluded.cents"
COUNT = "SELECT count(DISTINCT customer) FROM w_orders"


@pytest.fixture
def shop(database: Database) -> Database:
    """Three orders of two customers, and an empty read model."""
    database.execute("CREATE TABLE w_orders (customer int, cents int)")
    database.execute("INSERT INTO w_orders VALUES (1, 100), (1, 50), (2, 7)")
    database.execute("CREATE TABLE r_value (customer int PRIMARY KEY, cents bigint)")
    return database


def model(**given: Any) -> dict[str, Any]:
    """Return a table of the configuration with one read model."""
    return {"models": {"r_value": {"migration": "5", "insert": UPSERT, "count": COUNT} | given}}


def after_ddl(conn: Database, config: dict[str, Any] | None = None, **context: Any) -> list[HookResult]:
    """Run the hook as migration ``005 add_value`` does."""
    call = HookContext(**{"migration_name": "add_value", "migration_version": "005"} | context)
    return run_hook(plugin, "after_ddl", conn=conn, context=call, config=config, name="backfill")


def rows(conn: Database) -> list[Any]:
    return conn.execute("SELECT * FROM r_value ORDER BY 1").fetchall()


def the_error(conn: Database, config: dict[str, Any] | None = None, **context: Any) -> Any:
    """Return what the hook raised, having seen that nothing was kept."""
    before = rows(conn)
    with pytest.raises(HookError) as caught:
        after_ddl(conn, config, **context)
    assert rows(conn) == before
    return caught.value.error


class TestConfigured:
    """A table of the configuration, one a read model."""

    def test_nothing_happens_until_it_is_configured(self, shop: Database, tmp_path: Path) -> None:
        assert after_ddl(shop, folder=tmp_path) == []
        assert after_ddl(shop, {"models": {}}) == []

        assert rows(shop) == []

    def test_the_read_model_is_filled_and_its_rows_are_counted(self, shop: Database) -> None:
        (result,) = after_ddl(shop, model())

        assert rows(shop) == [(1, 150), (2, 7)]
        assert (result.hook_name, result.phase, result.rows_affected) == ("BackfillReadModel", "AFTER_DDL", 2)
        assert result.stats == {"table": "r_value", "rows": 2, "expected": 2, "found": 2}

    @pytest.mark.parametrize("mode", ["on-conflict", "truncate"])
    def test_filling_twice_gives_the_same_rows(self, shop: Database, mode: str) -> None:
        after_ddl(shop, model(mode=mode))
        once = rows(shop)

        after_ddl(shop, model(mode=mode))

        assert rows(shop) == once == [(1, 150), (2, 7)]

    def test_truncate_takes_away_what_is_no_longer_written(self, shop: Database) -> None:
        shop.execute("INSERT INTO r_value VALUES (99, 1)")

        after_ddl(shop, model(mode="truncate", insert=INSERT))

        assert rows(shop) == [(1, 150), (2, 7)]

    @pytest.mark.parametrize("insert", [INSERT, f"{INSERT} -- ON CONFLICT, one day", "INSERT INTO r_value "
        "SELECT 1, length('ON CONFLICT')"])  # fmt: skip
    def test_on_conflict_mode_refuses_an_insert_without_one(self, shop: Database, insert: str) -> None:
        error = the_error(shop, model(insert=insert))

        assert isinstance(error, PluginSettingsFault)
        assert "plugin.backfill.models.r_value: mode is 'on-conflict' and the INSERT has no" in str(error)
        assert "truncate" in str(error.hint)

    def test_missing_rows_are_reported_in_numbers_and_undone(self, shop: Database) -> None:
        error = the_error(shop, model(count="SELECT count(*) + 1 FROM w_orders"))

        assert isinstance(error, IncompleteBackfill)
        assert (error.expected, error.found) == (4, 2)
        assert "r_value is incomplete: its count query says 4 rows, the table holds 2" in str(error)

    def test_without_a_count_query_completeness_is_not_claimed(self, shop: Database) -> None:
        config = model()
        del config["models"]["r_value"]["count"]

        (result,) = after_ddl(shop, config)

        assert result.stats == {"table": "r_value", "rows": 2, "expected": None, "found": None}

    @pytest.mark.parametrize("migration", ["5", "0005", "add_value", "005_add_value"])
    def test_a_migration_is_named_by_version_or_by_name(self, shop: Database, migration: str) -> None:
        after_ddl(shop, model(migration=migration))

        assert len(rows(shop)) == 2

    @pytest.mark.parametrize("migration", ["50", "5.0.1", "value", "no such one"])
    def test_other_migrations_fill_nothing(self, shop: Database, migration: str) -> None:
        assert after_ddl(shop, model(migration=migration)) == []

        assert rows(shop) == []

    def test_going_backward_fills_nothing(self, shop: Database) -> None:
        assert after_ddl(shop, model(), direction="backward") == []

        assert rows(shop) == []

    def test_a_rehearsal_fills_and_keeps_nothing(self, shop: Database) -> None:
        (result,) = after_ddl(shop, model(), dry_run=True)

        assert result.rows_affected == 2
        assert rows(shop) == []

    def test_names_are_read_as_postgresql_reads_them(self, shop: Database) -> None:
        shop.execute('CREATE SCHEMA "Old; DROP"')
        shop.execute('CREATE TABLE "Old; DROP"."r "".value" (LIKE r_value INCLUDING ALL)')
        insert = UPSERT.replace("r_value", '"Old; DROP"."r "".value"')
        config = {
            "models": {'"Old; DROP"."r "".value"': {"migration": "5", "insert": insert, "count": COUNT}}
        }

        after_ddl(shop, config)
        after_ddl(shop, {"models": {"PUBLIC.R_Value": {"migration": "5", "insert": UPSERT, "count": COUNT}}})

        assert shop.execute('SELECT count(*) FROM "Old; DROP"."r "".value"').fetchone() == (2,)
        assert len(rows(shop)) == 2

    def test_a_percent_sign_is_just_that(self, shop: Database) -> None:
        insert = "INSERT INTO r_value SELECT 10 % 4, 1 WHERE '%s' LIKE '%' ON CONFLICT DO NOTHING"

        after_ddl(shop, model(insert=insert, count="SELECT 10 % 3"))

        assert rows(shop) == [(2, 1)]

    def test_several_statements_count_together(self, shop: Database) -> None:
        insert = f"LOCK TABLE w_orders IN SHARE MODE; UPDATE w_orders SET cents = 1; {UPSERT};"

        (result,) = after_ddl(shop, model(insert=insert))

        assert result.rows_affected == 5
        assert rows(shop) == [(1, 2), (2, 1)]

    def test_several_read_models_of_one_migration_are_reported_each(self, shop: Database) -> None:
        shop.execute("CREATE TABLE r_count (orders int)")
        config = model()
        config["models"]["r_count"] = {
            "migration": "5",
            "mode": "truncate",
            "insert": "INSERT INTO r_count SELECT count(*) FROM w_orders",
        }

        (result,) = after_ddl(shop, config)

        assert result.rows_affected == 3
        assert result.stats is not None
        assert [stats["table"] for stats in result.stats["models"]] == ["r_value", "r_count"]

    def test_the_row_factory_of_an_application_does_not_matter(self, shop: Database) -> None:
        shop.row_factory = psycopg.rows.dict_row

        (result,) = after_ddl(shop, model())

        assert result.rows_affected == 2


class TestRefused:
    """What cannot be used is named, and nothing is kept."""

    @pytest.mark.parametrize(
        "config, said, hint",
        [
            ({"models": ["r_value"]}, "plugin.backfill.models must be a table, not a list", "models = {"),
            ({"models": {"r_value": 5}}, "plugin.backfill.models.r_value must be a table", "r_value = {"),
            (model(migration=5), "models.r_value.migration must be a string, not a number", '= "…"'),
            (model(insert=" "), "models.r_value.insert must be a string, not an empty string", '= "…"'),
            (model(mode="append"), 'mode must be one of "on-conflict", "truncate"', '= "on-conflict"'),
            (model(insert="-- later"), "plugin.backfill.models.r_value has no SQL", "write the INSERT"),
            (model(conut=COUNT), "unknown key 'conut' in plugin.backfill.models.r_value", "mean 'count'?"),
            ({"models": {"r_value": {"insert": UPSERT}}}, "r_value.migration is missing", "its version"),
            ({"models": {"r_gone": model()["models"]["r_value"]}}, "there is no table r_gone", "its name"),
            (model(count="SELECT 1, 2"), "the count query must return one whole number", "count(*)"),
            (model(count="SELECT 'x'"), "the count query must return one whole number", "count(*)"),
        ],
    )
    def test_a_faulty_table_of_the_configuration(
        self, shop: Database, config: dict[str, Any], said: str, hint: str
    ) -> None:
        error = the_error(shop, config)

        assert isinstance(error, PluginSettingsFault)
        assert isinstance(error, ValueError)
        assert said in str(error)
        assert hint in str(error.hint)

    def test_an_sql_error_says_table_place_and_what_the_server_said(self, shop: Database) -> None:
        error = the_error(shop, model(insert="INSERT INTO r_value\n  SELECT nope, 1 ON CONFLICT DO NOTHING"))

        assert isinstance(error, BackfillFailed)
        assert error.sqlstate == "42703"
        assert 'filling r_value failed: column "nope" does not exist' in str(error)
        assert "(plugin.backfill.models.r_value, line 2, column 10)" in str(error)

    def test_a_lock_that_is_not_granted_stays_what_it_is(self, shop: Database, second: Database) -> None:
        """The runner tries again after that error only."""
        with second.transaction():
            second.execute("SELECT * FROM r_value")
            shop.execute("SET lock_timeout = '20ms'")

            error = the_error(shop, model(mode="truncate"))

        assert isinstance(error, psycopg.errors.LockNotAvailable)


class TestBackfillFile:
    """``VERSION_name.backfill.sql``."""

    HEAD = f"-- Who buys most.\n-- backfill: table=r_value\n-- backfill: count={COUNT}\n\n"

    def write(self, folder: Path, text: str, name: str = "005_add_value.backfill.sql") -> None:
        (folder / name).write_bytes(text.encode())

    def test_the_file_fills_its_table(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, f"\ufeff{self.HEAD}{UPSERT};\n".replace("\n", "\r\n"))

        (result,) = after_ddl(shop, folder=tmp_path)

        assert rows(shop) == [(1, 150), (2, 7)]
        assert result.stats == {"table": "r_value", "rows": 2, "expected": 2, "found": 2}

    def test_the_file_may_truncate(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, f"-- backfill: mode=truncate\n{self.HEAD}{INSERT}")

        after_ddl(shop, folder=tmp_path)
        after_ddl(shop, folder=tmp_path)

        assert rows(shop) == [(1, 150), (2, 7)]

    def test_the_version_is_compared_number_by_number(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, self.HEAD + UPSERT, "5_add_value.backfill.sql")
        self.write(tmp_path, "not ours", "50_add_value.backfill.sql")

        after_ddl(shop, folder=tmp_path)

        assert len(rows(shop)) == 2

    def test_a_file_of_a_migration_without_a_name(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, self.HEAD + UPSERT, "005.backfill.sql")

        after_ddl(shop, folder=tmp_path, migration_name="")

        assert len(rows(shop)) == 2

    def test_an_error_is_placed_in_the_file(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, f"{self.HEAD}INSERT INTO r_value SELEC 1 ON CONFLICT DO NOTHING")

        error = the_error(shop, folder=tmp_path)

        assert "syntax error" in str(error)
        assert "(005_add_value.backfill.sql, line 5, column 21)" in str(error)

    @pytest.mark.parametrize(
        "text, said",
        [
            (UPSERT, ": table is missing"),
            (f"-- backfill: tabel=r_value\n{UPSERT}", "line 1: there is no directive 'tabel'"),
            (f"-- backfill: table\n{UPSERT}", "line 1: 'table' is not KEY=VALUE"),
            (f"{HEAD}-- backfill: table=r_value\n{UPSERT}", "line 5: table is set twice"),
            (f"{HEAD}{INSERT}", "the INSERT has no ON CONFLICT"),
            (f"-- backfill: mode=turncate\n{HEAD}{INSERT}", "did you mean 'truncate'?"),
            (HEAD, "005_add_value.backfill.sql has no SQL"),
            (f"{HEAD}{UPSERT}\0", "contains a NUL character"),
        ],
    )
    def test_a_faulty_file_is_named(self, shop: Database, tmp_path: Path, text: str, said: str) -> None:
        self.write(tmp_path, text)

        error = the_error(shop, folder=tmp_path)

        assert isinstance(error, PluginSettingsFault)
        assert "005_add_value.backfill.sql" in str(error)
        assert said in str(error)

    def test_a_file_that_is_not_utf8_is_named(self, shop: Database, tmp_path: Path) -> None:
        (tmp_path / "005_add_value.backfill.sql").write_bytes(b"-- caf\xe9")

        error = the_error(shop, folder=tmp_path)

        assert "005_add_value.backfill.sql is not UTF-8 (byte 7)" in str(error)

    def test_a_file_of_another_name_is_not_passed_over(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, self.HEAD + UPSERT, "005_add_valeu.backfill.sql")

        error = the_error(shop, folder=tmp_path)

        assert "has the version 005, but that migration is called 'add_value'" in str(error)
        assert error.hint == "rename it to 005_add_value.backfill.sql"

    def test_two_files_of_one_version_are_refused(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, self.HEAD + UPSERT)
        self.write(tmp_path, self.HEAD + UPSERT, "05_add_value.backfill.sql")

        error = the_error(shop, folder=tmp_path)

        assert "both have the version 005" in str(error)

    def test_a_table_that_the_settings_fill_too_is_refused(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, self.HEAD + UPSERT)

        error = the_error(shop, model(), folder=tmp_path)

        assert "r_value is filled by the settings and by 005_add_value.backfill.sql" in str(error)
