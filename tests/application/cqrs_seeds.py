"""Seeds of the rules about the write side and the read side."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from tests.application.function_text import render_function
from tests.application.seeds import Seed, seed_sql, seed_table, with_extra
from tests.application.sound import make_read_table
from tests.application.table_text import Table, render_comment

_READ = "02_query_side"


def list_cqrs_seeds() -> Iterator[Seed]:
    """Yield the faults and their twins."""
    yield from _list_names()
    yield from _list_sources()
    yield from _list_dependent_tables()
    yield from _list_dependent_functions()
    yield from _list_fills()


def _list_names() -> Iterator[Seed]:
    for name in ("customers_backup", "tmp_orders"):
        table = Table(name, tenant="", key="id", policy="", row_security=False, indexes=())
        yield seed_table(table, "cqrs-table-name")
    comment = render_comment("VIEW", "v_orders", "A selection.")
    view = f"CREATE VIEW v_orders AS SELECT tenant_id, id FROM w_orders;\n{comment}\n"
    yield seed_sql("v_orders", view, ("cqrs-view-name", "public.v_orders", ""), folder=_READ)
    comment = render_comment("MATERIALIZED VIEW", "mv_orders", "A selection.")
    view = f"CREATE MATERIALIZED VIEW mv_orders AS SELECT tenant_id, id FROM w_orders;\n{comment}\n"
    yield seed_sql("mv_orders", view, ("cqrs-view-name", "public.mv_orders", ""), folder=_READ)
    for name in ("cleanup", "get_total"):
        sql = render_function(f"{name}(p_days integer) RETURNS integer", "sql", "SELECT p_days")
        yield seed_sql(name, sql, ("cqrs-function-name", f"public.{name}(p_days integer)", ""))


def _seed_model(name: str, comment: str, *rules: str, word: str = "") -> Seed:
    """Return a read model with a comment, and the function that fills it."""
    table = evolve(make_read_table(name, []), comment=comment)
    seed = seed_table(table, *rules, word=word)
    body = f"INSERT INTO r_{name} (tenant_id, content) SELECT tenant_id, to_jsonb(o) FROM w_orders o"
    fill = seed_sql(f"fn_fill_{name}", render_function(f"fn_fill_{name}() RETURNS void", "sql", body))
    return evolve(seed, files=(*seed.files, *fill.files))


def _list_sources() -> Iterator[Seed]:
    yield _seed_model("order_map", "Where orders go.", "cqrs-sources")
    yield _seed_model("order_calendar", "confiture: source w_orders", "cqrs-sources")
    yield _seed_model(
        "order_graph", "confiture: sources w_orders, w_gone", "cqrs-source-unknown", word="w_gone"
    )
    yield _seed_model(
        "order_tree", "confiture: sources app.w_orders", "cqrs-source-unknown", word="app.w_orders"
    )
    yield _seed_model(
        "order_chart", "confiture: sources r_order_list, w_orders", "cqrs-source-side", word="r_order_list"
    )
    yield _seed_model(
        "order_origin", "confiture: sources c_countries", "cqrs-source-side", word="c_countries"
    )
    yield _seed_model(
        "order_board", "Two lines.\nconfiture: sources w_orders , public.w_customers\nAnd more."
    )
    # Its sources are in the configuration.
    yield _seed_model("order_radar", "Without a source here.")


def _list_dependent_tables() -> Iterator[Seed]:
    refers = (
        "ALTER TABLE w_reminders ADD CONSTRAINT w_reminders_model FOREIGN KEY (tenant_id, model_id)\n"
        "    REFERENCES r_order_list (tenant_id, id);",
        "CREATE INDEX w_reminders_model ON w_reminders (tenant_id, model_id);",
    )
    # The write side is applied before the read side, so the key is added there.
    table = with_extra("reminders", refers[1], columns=("model_id uuid",))
    yield seed_table(table)
    yield seed_sql(
        "w_reminders_model",
        f"{refers[0]}\n",
        ("cqrs-direction", "public.w_reminders", "w_reminders_model"),
        folder=_READ,
    )
    yield seed_table(Table("w_limits"))
    policy = (
        "CREATE POLICY w_limits_list ON w_limits FOR SELECT\n"
        "    USING (id IN (SELECT l.id FROM r_order_list l WHERE l.tenant_id = w_limits.tenant_id));\n"
    )
    yield seed_sql(
        "w_limits_list", policy, ("cqrs-direction", "public.w_limits", "w_limits_list"), folder=_READ
    )
    comment = render_comment("VIEW", "w_order_choice", "A selection.")
    view = f"CREATE VIEW w_order_choice AS SELECT tenant_id, id FROM r_order_list;\n{comment}\n"
    yield seed_sql(
        "w_order_choice",
        view,
        ("cqrs-direction", "public.w_order_choice", "r_order_list"),
        ("cqrs-view-name", "public.w_order_choice", ""),
        folder=_READ,
    )


_DEPENDENT = {
    "accept_order": (
        "plpgsql",
        "BEGIN\n    IF EXISTS (SELECT FROM r_order_list WHERE content ->> 'status' = 'open') THEN\n"
        "        UPDATE w_orders SET status = 'accepted';\n    END IF;\nEND",
    ),
    "copy_prices": (
        "sql",
        "INSERT INTO w_price_list_items (tenant_id, unit_price)\n"
        "    SELECT tenant_id, 1 FROM r_product_prices",
    ),
    "close_tickets": (
        "plpgsql",
        "DECLARE\n    v_open bigint;\nBEGIN\n    v_open := (SELECT count(*) FROM r_ticket_list);\n"
        "    DELETE FROM w_ticket_messages WHERE v_open = 0;\nEND",
    ),
    "grant_credit": (
        "plpgsql",
        "BEGIN\n    UPDATE w_customers SET notes = 'credit' WHERE id = ANY (fn_list_creditors());\nEND",
    ),
}
_INDEPENDENT = {
    "record_order": (
        "plpgsql",
        "BEGIN\n    -- r_order_list is filled by its trigger\n    INSERT INTO w_order_discounts (tenant_id, amount)\n"
        "    SELECT tenant_id, 1 FROM w_orders;\n    RAISE NOTICE 'see r_order_list';\nEND",
    ),
    "sync_order": (
        "plpgsql",
        "BEGIN\n    UPDATE w_orders SET status = 'synced';\n"
        "    INSERT INTO r_order_list (tenant_id, id, content) SELECT tenant_id, id, to_jsonb(o) FROM w_orders o\n"
        "        ON CONFLICT (tenant_id, id) DO UPDATE SET content = excluded.content;\nEND",
    ),
    "shadow_order": (
        "sql",
        "WITH r_order_list AS (SELECT tenant_id FROM w_orders)\n"
        "    INSERT INTO w_order_discounts (tenant_id, amount) SELECT tenant_id, 1 FROM r_order_list",
    ),
}


def _list_dependent_functions() -> Iterator[Seed]:
    creditors = render_function(
        "fn_list_creditors() RETURNS uuid[]", "sql", "SELECT array_agg(id) FROM r_customer_balance", " STABLE"
    )
    # It sorts before what calls it.
    yield seed_sql("a_fn_list_creditors", creditors)
    for name, (language, body) in {**_DEPENDENT, **_INDEPENDENT}.items():
        sql = render_function(f"fn_{name}() RETURNS void", language, body)
        expected = (
            (("cqrs-direction", f"public.fn_{name}()", "reads public.r_"),) if name in _DEPENDENT else ()
        )
        yield seed_sql(f"fn_{name}", sql, *expected)
    before = render_function(
        "fn_guard_order() RETURNS trigger",
        "plpgsql",
        "BEGIN\n    PERFORM 1 FROM r_customer_balance b WHERE b.id = NEW.customer_id;\n    RETURN NEW;\nEND",
    )
    trigger = "CREATE TRIGGER tr_guard_order BEFORE INSERT ON w_orders FOR EACH ROW EXECUTE FUNCTION fn_guard_order();\n"
    yield seed_sql(
        "fn_guard_order", before + trigger, ("cqrs-direction", "public.fn_guard_order()", "r_customer")
    )


def _list_fills() -> Iterator[Seed]:
    for name in ("order_ghosts", "order_echoes"):
        yield seed_table(make_read_table(name, ["orders"]), "cqrs-not-filled")
    sql = "CREATE MATERIALIZED VIEW r_{0} AS SELECT tenant_id, id FROM w_orders;\n"
    for name, rules in (("order_snapshot", ("cqrs-not-filled",)), ("order_overview", ())):
        comment = render_comment("MATERIALIZED VIEW", f"r_{name}", "A report.")
        expected = tuple((rule, f"public.r_{name}", "") for rule in rules)
        yield seed_sql(f"r_{name}", f"{sql.format(name)}{comment}\n", *expected, folder=_READ)
    dynamic = render_function(
        "fn_refresh_reports() RETURNS void",
        "plpgsql",
        "DECLARE\n    v_name text;\nBEGIN\n    FOREACH v_name IN ARRAY ARRAY['r_order_overview'] LOOP\n"
        "        EXECUTE format('REFRESH MATERIALIZED VIEW %I', v_name);\n    END LOOP;\nEND",
    )
    yield seed_sql("fn_refresh_reports", dynamic)
    # By the configuration, by a comment, by a backfill.
    yield seed_table(make_read_table("order_import", ["orders"]))
    table = make_read_table("order_feed", ["orders"])
    yield seed_table(evolve(table, comment=f"{table.comment} confiture: filled by the nightly job"))
    yield seed_table(make_read_table("order_history", ["orders"]))
