"""What a migration leaves behind is checked before it is committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from confiture.hooks.api import HookError, HookResult
from confiture.hooks.hook_context import HookContext
from confiture.plugins.kit import PluginSettingsFault
from confiture.testing import run_hook
from confiture_checks import plugin
from confiture_checks.errors import CheckFailed, CheckRefused, ConstraintNotValid, CountMismatch

Database = psycopg.Connection[Any]

ADD_CHECK = "ALTER TABLE orders ADD CONSTRAINT positive CHECK (cents > 0) NOT VALID"


@pytest.fixture
def shop(database: Database) -> Database:
    """Two customers, three orders: one for nothing, one of nobody."""
    database.execute("CREATE TABLE customers (id int PRIMARY KEY)")
    database.execute("INSERT INTO customers VALUES (1), (2)")
    database.execute("CREATE TABLE orders (id int, customer int, cents int)")
    database.execute("INSERT INTO orders VALUES (10, 1, 100), (11, 2, 0), (12, 77, 5)")
    return database


def after(
    conn: Database, config: dict[str, Any] | None = None, *, ddl: str = "SELECT 1", **context: Any
) -> list[HookResult]:
    """Run ``ddl`` and the hook as migration ``005 add_value`` does, in one transaction."""
    call = HookContext(**{"migration_name": "add_value", "migration_version": "005"} | context)
    with conn.transaction(force_rollback=call.dry_run):
        conn.execute(ddl.encode())
        return run_hook(plugin, "after_validation", conn=conn, context=call, config=config, name="checks")


def the_error(conn: Database, config: dict[str, Any] | None = None, **more: Any) -> Any:
    with pytest.raises(HookError) as caught:
        after(conn, config, **more)
    return caught.value.error


def counts(**given: Any) -> dict[str, Any]:
    """Return a table of the configuration with one expectation."""
    one = {
        "migration": "5",
        "source": "SELECT count(*) FROM customers;",
        "target": "SELECT count(*) FROM orders",
    }
    return {"counts": {"sold": one | given}}


class TestConstraints:
    """``ValidateConstraints``."""

    def test_validated_ones_hold(self, shop: Database) -> None:
        (result,) = after(shop, {"constraints": "error"}, ddl="ALTER TABLE orders ADD CHECK (cents >= 0)")

        assert result.hook_name == "ValidateConstraints"
        assert result.stats == {"relations": 1, "not_valid": {}}

    def test_one_that_is_not_valid_is_a_warning(self, shop: Database) -> None:
        with capture_logs() as logs:
            (result,) = after(shop, ddl=ADD_CHECK)

        assert result.stats == {"relations": 1, "not_valid": {"public.orders.positive": None}}
        assert [(log["event"], log["log_level"], log["constraint"]) for log in logs] == [
            ("constraint.not_valid", "warning", "public.orders.positive")
        ]

    def test_with_the_policy_error_it_stops_the_migration_and_says_how_to_go_on(self, shop: Database) -> None:
        error = the_error(shop, {"constraints": "error"}, ddl=ADD_CHECK)

        assert isinstance(error, ConstraintNotValid)
        assert error.constraints == ("public.orders.positive",)
        assert str(error) == "public.orders.positive is not validated: CHECK ((cents > 0)) NOT VALID"
        assert "ALTER TABLE public.orders VALIDATE CONSTRAINT positive" in str(error.hint)

    def test_a_constraint_of_another_table_is_left_out(self, shop: Database) -> None:
        shop.execute(ADD_CHECK)

        (result,) = after(shop, {"constraints": "error"}, ddl="ALTER TABLE customers ADD COLUMN name text")

        assert result.stats == {"relations": 1, "not_valid": {}}

    def test_one_that_is_allowed_stops_nothing(self, shop: Database) -> None:
        config = {"constraints": "error", "not_valid_allowed": ["public.orders.positive"]}

        (result,) = after(shop, config, ddl=ADD_CHECK)

        assert result.stats == {"relations": 1, "not_valid": {}}

    def test_off_is_off(self, shop: Database) -> None:
        assert after(shop, {"constraints": "off"}, ddl=ADD_CHECK) == []

    @pytest.mark.parametrize(
        "constraint, violations",
        [
            ("CHECK (cents > 0)", 1),
            ("CHECK (cents > 0) NO INHERIT", 1),
            ("FOREIGN KEY (customer) REFERENCES customers", 1),
            ("FOREIGN KEY (customer) REFERENCES customers MATCH FULL", 1),
            ("FOREIGN KEY (id, customer) REFERENCES pairs (a, b)", 3),
            ("FOREIGN KEY (id, customer) REFERENCES pairs (a, b) MATCH FULL", 4),
            ("FOREIGN KEY (customer) REFERENCES wide", 3),
        ],
    )
    def test_the_rows_that_violate_it_are_counted_on_demand(
        self, shop: Database, constraint: str, violations: int
    ) -> None:
        shop.execute("CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b))")
        shop.execute("CREATE TABLE wide (id bigint PRIMARY KEY)")
        shop.execute("INSERT INTO orders VALUES (13, NULL, 7), (NULL, NULL, NULL)")
        ddl = f'ALTER TABLE orders ADD CONSTRAINT "It is" {constraint} NOT VALID'

        (result,) = after(shop, {"count_violations": True}, ddl=ddl)

        assert result.stats is not None
        assert result.stats["not_valid"] == {'public.orders."It is"': violations}

    def test_postgresql_finds_violations_where_they_are_counted(self, shop: Database) -> None:
        """The count is of the same rows that VALIDATE CONSTRAINT stumbles over."""
        foreign = (
            "ALTER TABLE orders ADD CONSTRAINT known FOREIGN KEY (customer) REFERENCES customers NOT VALID"
        )
        shop.execute(foreign)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            shop.execute("ALTER TABLE orders VALIDATE CONSTRAINT known")

        error = the_error(
            shop, {"constraints": "error", "count_violations": True}, ddl="UPDATE orders SET customer = 1"
        )
        shop.execute("UPDATE orders SET customer = 1")
        shop.execute("ALTER TABLE orders VALIDATE CONSTRAINT known")

        assert "rows that violate it: 0" in str(error)

    def test_a_not_null_of_postgresql_18_that_is_not_valid_is_one_too(self, shop: Database) -> None:
        if shop.info.server_version < 180000:
            pytest.skip("before PostgreSQL 18 a NOT NULL cannot be NOT VALID")
        shop.execute("INSERT INTO orders VALUES (13, NULL, NULL)")
        ddl = "ALTER TABLE orders ADD CONSTRAINT paid NOT NULL cents NOT VALID"

        (result,) = after(shop, {"count_violations": True}, ddl=ddl)

        assert result.stats is not None
        assert result.stats["not_valid"] == {"public.orders.paid": 1}

    def test_one_that_is_not_enforced_promises_nothing(self, shop: Database) -> None:
        if shop.info.server_version < 180000:
            pytest.skip("before PostgreSQL 18 every constraint is enforced")

        (result,) = after(
            shop, {"constraints": "error"}, ddl="ALTER TABLE orders ADD CHECK (cents > 0) NOT ENFORCED"
        )

        assert result.stats == {"relations": 1, "not_valid": {}}

    def test_a_no_transaction_migration_reports_that_its_tables_are_not_known(self, shop: Database) -> None:
        context = HookContext("add_value", "005")
        run_hook(plugin, "before_validation", conn=shop, context=context, name="checks")
        shop.execute(ADD_CHECK)

        with capture_logs() as logs:
            (result,) = run_hook(plugin, "after_validation", conn=shop, context=context, name="checks")

        assert result.stats is not None
        assert result.stats["relations"] is None
        assert "a no-transaction migration has changed is not known" in result.stats["unknown"]
        assert [log["event"] for log in logs] == ["constraints.unknown"]

    def test_a_migration_that_changes_nothing_has_no_relations(self, shop: Database) -> None:
        context = HookContext("add_value", "005")
        with shop.transaction():
            run_hook(plugin, "before_validation", conn=shop, context=context, name="checks")
            (result,) = run_hook(plugin, "after_validation", conn=shop, context=context, name="checks")

        assert result.stats == {"relations": 0, "not_valid": {}}

    def test_the_row_factory_of_an_application_does_not_matter(self, shop: Database) -> None:
        shop.row_factory = psycopg.rows.dict_row

        (result,) = after(shop, {"count_violations": True} | counts(difference=1), ddl=ADD_CHECK)

        assert result.stats is not None
        assert result.stats["not_valid"] == {"public.orders.positive": 1}


class TestCheckFile:
    """``VERSION_name.check.sql``."""

    def write(self, folder: Path, text: str, name: str = "005_add_value.check.sql") -> None:
        (folder / name).write_bytes(text.encode())

    def test_queries_without_rows_pass(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "\ufeffSELECT 1 WHERE false;\r\nSELECT '%s' LIKE '%' WHERE 10 % 2 = 1; -- end")

        (result,) = after(shop, {"constraints": "off"}, folder=tmp_path)

        assert result.stats == {"checks": 2}

    def test_what_a_query_returns_is_shown(self, shop: Database, tmp_path: Path) -> None:
        query = "SELECT id, 'infinity'::date AS since, NULL AS note\nFROM orders WHERE customer > 2;"
        text = f"SELECT 1 WHERE false;\n-- orphans\n{query}"
        self.write(tmp_path, text)

        error = the_error(shop, folder=tmp_path)

        assert isinstance(error, CheckFailed)
        assert str(error).splitlines() == [
            "005_add_value.check.sql, line 3: the query must return no rows and returns 1:",
            "  id  since     note",
            "  12  infinity  NULL",
        ]

    def test_ten_rows_of_many_are_shown(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT generate_series(1, 1000000000) AS n, repeat('x', 100)")

        error = the_error(shop, folder=tmp_path)

        first, _, *rows = str(error).splitlines()
        assert first.endswith("returns more than 10; the first 10:")
        assert [row.split()[0] for row in rows] == [str(n) for n in range(1, 11)]
        assert all(row.endswith("x…") and len(row) < 80 for row in rows)

    @pytest.mark.parametrize(
        "writing",
        [
            "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT * FROM gone WHERE false",
            "SELECT * INTO copied FROM orders WHERE false",
            "SELECT setval('numbers', 5) WHERE nextval('numbers') < 0",
            "SELECT * FROM orders WHERE false FOR UPDATE",
        ],
    )
    def test_a_query_that_writes_is_refused(self, shop: Database, tmp_path: Path, writing: str) -> None:
        shop.execute("CREATE SEQUENCE numbers")
        self.write(tmp_path, writing)

        error = the_error(shop, folder=tmp_path)

        assert isinstance(error, CheckRefused)
        assert "005_add_value.check.sql, line 1" in str(error)
        assert shop.execute("SELECT count(*) FROM orders").fetchone() == (3,)

    def test_after_the_checks_the_transaction_may_write_again(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT 1 WHERE false")

        with shop.transaction():
            run_hook(
                plugin,
                "after_validation",
                conn=shop,
                context=HookContext("add_value", "005", folder=tmp_path),
                name="checks",
            )
            shop.execute("INSERT INTO customers VALUES (3)")

        assert shop.execute("SELECT count(*) FROM customers").fetchone() == (3,)

    def test_an_sql_error_is_placed_in_the_file(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT 1 WHERE false;\n\nSELECT id,\n  nope FROM orders;\n")

        error = the_error(shop, folder=tmp_path)

        assert isinstance(error, CheckRefused)
        assert error.sqlstate == "42703"
        assert str(error) == '005_add_value.check.sql, line 4, column 3: column "nope" does not exist'

    @pytest.mark.parametrize(
        "text, said",
        [
            ("-- later", "005_add_value.check.sql holds no query"),
            (
                "SELECT 1;\nSELEC 2",
                '005_add_value.check.sql, line 2, column 1: syntax error at or near "SELEC"',
            ),
            ("SELECT 1;\nDELETE FROM orders", "005_add_value.check.sql, line 2: this is not a query"),
            ("COMMIT", "005_add_value.check.sql, line 1: this is not a query"),
            ("SELECT 1\0", "005_add_value.check.sql contains a NUL character"),
        ],
    )
    def test_a_faulty_file_is_reported_before_anything_has_changed(
        self, shop: Database, tmp_path: Path, text: str, said: str
    ) -> None:
        self.write(tmp_path, text)

        with pytest.raises(HookError) as caught:
            run_hook(
                plugin,
                "before_validation",
                conn=shop,
                context=HookContext("add_value", "005", folder=tmp_path),
                name="checks",
            )

        assert isinstance(caught.value.error, PluginSettingsFault)
        assert said in str(caught.value.error)

    def test_a_file_that_is_not_utf8_is_named(self, shop: Database, tmp_path: Path) -> None:
        (tmp_path / "005_add_value.check.sql").write_bytes(b"-- caf\xe9")

        assert "005_add_value.check.sql is not UTF-8 (byte 7)" in str(the_error(shop, folder=tmp_path))

    def test_a_file_of_another_name_is_not_passed_over(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT 1", "005_add_valeu.check.sql")

        error = the_error(shop, folder=tmp_path)

        assert error.hint == "rename it to 005_add_value.check.sql"

    def test_two_files_of_one_version_are_refused(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT 1")
        self.write(tmp_path, "SELECT 1", "5_add_value.check.sql")

        assert "both have the version 005" in str(the_error(shop, folder=tmp_path))

    def test_files_of_other_versions_are_others(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "not ours", "50_add_value.check.sql")

        assert after(shop, {"constraints": "off"}, folder=tmp_path) == []

    def test_going_backward_nothing_is_checked(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT 1")

        assert (
            after(shop, {"constraints": "error"}, ddl=ADD_CHECK, folder=tmp_path, direction="backward") == []
        )

    def test_a_rehearsal_checks_too(self, shop: Database, tmp_path: Path) -> None:
        self.write(tmp_path, "SELECT 1")

        assert isinstance(the_error(shop, folder=tmp_path, dry_run=True), CheckFailed)


class TestCounts:
    """``counts``."""

    def test_counts_that_agree_are_reported(self, shop: Database) -> None:
        (result,) = after(shop, {"constraints": "off"} | counts(difference=1))

        assert result.stats == {"counts": {"sold": {"source": 2, "target": 3}}}

    @pytest.mark.parametrize("swapped", [False, True])
    def test_counts_that_differ_stop_the_migration(self, shop: Database, swapped: bool) -> None:
        few, many = counts()["counts"]["sold"]["source"], counts()["counts"]["sold"]["target"]

        error = the_error(shop, counts(source=many, target=few) if swapped else counts())

        assert isinstance(error, CountMismatch)
        assert (error.source, error.target) == ((3, 2) if swapped else (2, 3))
        assert "they differ by 1" in str(error)

    def test_those_of_another_migration_are_not_counted(self, shop: Database) -> None:
        assert after(shop, {"constraints": "off"} | counts(migration="6")) == []

    def test_a_query_that_the_server_refuses_is_named(self, shop: Database) -> None:
        error = the_error(shop, counts(target="SELECT count(*) FROM nowhere"))

        assert isinstance(error, CheckRefused)
        assert str(error) == 'plugin.checks.counts.sold.target: relation "nowhere" does not exist'

    def test_a_lock_that_is_not_granted_stays_what_it_is(self, shop: Database, second: Database) -> None:
        """The runner tries again after that error only."""
        with second.transaction():
            second.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            shop.execute("SET lock_timeout = '20ms'")

            error = the_error(shop, counts())

        assert isinstance(error, psycopg.errors.LockNotAvailable)


class TestRefused:
    """What cannot be used is named."""

    @pytest.mark.parametrize(
        "config, said, hint",
        [
            ({"constraints": "maybe"}, 'constraints must be one of "warn", "error", "off"', '= "warn"'),
            ({"count_violations": "yes"}, "count_violations must be true or false, not a string", "= true"),
            ({"not_valid_allowed": "x"}, "not_valid_allowed must be a list of names", '= ["…"]'),
            ({"counts": ["sold"]}, "plugin.checks.counts must be a table, not a list", "Row counts that"),
            ({"counts": {"sold": 5}}, "plugin.checks.counts.sold must be a table, not a number", "sold = {"),
            (counts(sauce="x"), "unknown key 'sauce' in plugin.checks.counts.sold", "mean 'source'?"),
            ({"counts": {"sold": {"migration": "5"}}}, "counts.sold.source is missing", "one whole number"),
            (counts(difference="1"), "counts.sold.difference must be a whole number, 0 or more", "= 0"),
            (counts(source="SELECT 1, 2"), "must be a query that returns one whole number", "count(*)"),
            (counts(source="SELECT 'x'"), "must be a query that returns one whole number", "count(*)"),
            (counts(source="SELECT NULL"), "must be a query that returns one whole number", "count(*)"),
            (counts(source="VALUES (1), (2)"), "must be a query that returns one whole number", "count(*)"),
        ],
    )
    def test_a_faulty_table_of_the_configuration(
        self, shop: Database, config: dict[str, Any], said: str, hint: str
    ) -> None:
        error = the_error(shop, config)

        assert isinstance(error, PluginSettingsFault)
        assert said in str(error)
        assert hint in str(error.hint)
