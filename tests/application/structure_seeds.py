"""Seeds of the rules about structure, names and comments."""

from __future__ import annotations

from collections.abc import Iterator

from tests.application.function_text import render_function
from tests.application.seeds import Seed, seed_sql, seed_table, with_extra
from tests.application.table_text import Table, render_comment

_REFERS = "ALTER TABLE w_{name} ADD CONSTRAINT w_{name}_customer_fkey\n    FOREIGN KEY (tenant_id, customer_id) REFERENCES w_customers (tenant_id, id);"
_CUSTOMER = ("customer_id uuid", "deleted_at timestamptz")


def list_structure_seeds() -> Iterator[Seed]:
    """Yield the faults and their twins."""
    yield from _list_keys()
    yield from _list_indexes()
    yield from _list_states()
    yield from _list_types()
    yield from _list_names()
    yield from _list_comments()


def _list_keys() -> Iterator[Seed]:
    yield seed_table(Table("w_import_rows", ("line text",), key=""), "schema-primary-key")
    yield seed_table(
        Table(
            "w_scan_results",
            ("code text",),
            key="",
            extra=("ALTER TABLE w_scan_results ADD UNIQUE (tenant_id, id);",),
        ),
        "schema-primary-key",
    )
    no_index = (
        ("letters", ()),
        ("visits", ("CREATE INDEX w_visits_late ON w_visits (tenant_id, updated_at, customer_id);",)),
        (
            "calls",
            ("CREATE INDEX w_calls_open ON w_calls (tenant_id, customer_id) WHERE deleted_at IS NULL;",),
        ),
    )
    for name, extra in no_index:
        table = with_extra(name, _REFERS.format(name=name), *extra, columns=_CUSTOMER)
        yield seed_table(table, "schema-foreign-key-index", word=f"w_{name}_customer_fkey")
    served = (
        ("meetings", "(customer_id, tenant_id)"),
        ("mailings", "(tenant_id, customer_id) WHERE customer_id IS NOT NULL"),
        ("samples", "(tenant_id, customer_id, created_at)"),
    )
    for name, index in served:
        create = f"CREATE INDEX w_{name}_customer ON w_{name} {index};"
        yield seed_table(with_extra(name, _REFERS.format(name=name), create, columns=_CUSTOMER))


def _list_indexes() -> Iterator[Seed]:
    again = "CREATE INDEX w_batches_again ON w_batches (tenant_id, created_at);"
    yield seed_table(with_extra("batches", again), "schema-duplicate-index", word="w_batches_")
    lot = (
        "CREATE UNIQUE INDEX w_lots_code ON w_lots (tenant_id, code);",
        "CREATE INDEX w_lots_code_again ON w_lots (tenant_id, code);",
    )
    yield seed_table(
        with_extra("lots", *lot, columns=("code text",)), "schema-duplicate-index", word="w_lots_code_again"
    )
    longer = "CREATE INDEX w_pallets_place ON w_pallets (tenant_id, created_at, place);"
    yield seed_table(
        with_extra("pallets", longer, columns=("place text",)),
        "schema-redundant-index",
        word="w_pallets_idx1",
    )
    prefix = "CREATE INDEX w_boxes_tenant ON w_boxes (tenant_id);"
    yield seed_table(with_extra("boxes", prefix), "schema-redundant-index", word="w_boxes_tenant")
    nothing = "CREATE INDEX w_labels_never ON w_labels (tenant_id, updated_at) WHERE false;"
    yield seed_table(with_extra("labels", nothing), "schema-redundant-index", word="w_labels_never")
    several = (
        "CREATE INDEX w_parcels_down ON w_parcels (tenant_id, created_at DESC, code);",
        "CREATE INDEX w_parcels_like ON w_parcels (tenant_id, code text_pattern_ops);",
        "CREATE INDEX w_parcels_code ON w_parcels (tenant_id, code);",
        "CREATE INDEX w_parcels_open ON w_parcels (tenant_id, created_at) WHERE code IS NULL;",
        "CREATE UNIQUE INDEX w_parcels_one ON w_parcels (tenant_id, lower(code));",
        "CREATE INDEX w_parcels_brin ON w_parcels USING brin (created_at);",
        "CREATE UNIQUE INDEX w_parcels_day ON w_parcels (tenant_id, updated_at);",
        "CREATE INDEX w_parcels_day_code ON w_parcels (tenant_id, updated_at, code) INCLUDE (id);",
    )
    yield seed_table(with_extra("parcels", *several, columns=("code text",)))


def _list_states() -> Iterator[Seed]:
    for name in ("gates", "ramps"):
        # What a failed CREATE INDEX CONCURRENTLY leaves.
        spoil = f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'w_{name}_late'::regclass;"
        create = f"CREATE INDEX w_{name}_late ON w_{name} (tenant_id, updated_at);"
        yield seed_table(with_extra(name, create, spoil), "schema-invalid-index", word=f"w_{name}_late")
    check = "ALTER TABLE w_{0} ADD CONSTRAINT w_{0}_check CHECK (quantity > 0) NOT VALID;"
    quantity = ("quantity integer",)
    yield seed_table(
        with_extra("counts", check.format("counts"), columns=quantity),
        "schema-not-valid",
        word="w_counts_check",
    )
    validate = "ALTER TABLE w_weights VALIDATE CONSTRAINT w_weights_check;"
    yield seed_table(with_extra("weights", check.format("weights"), validate, columns=quantity))
    later = f"{_REFERS.format(name='claims')[:-1]} NOT VALID;"
    index = "CREATE INDEX w_claims_customer ON w_claims (tenant_id, customer_id);"
    yield seed_table(
        with_extra("claims", later, index, columns=_CUSTOMER),
        "schema-not-valid",
        word="w_claims_customer_fkey",
    )
    for name in ("sensor_values", "page_views"):
        yield seed_table(Table(f"w_{name}", persistence="UNLOGGED"), "schema-unlogged")
    size = "UPDATE pg_class SET relpages = {1}, reltuples = 1e9 WHERE oid = 'w_{0}'::regclass;"
    for name, pages, rules in (
        ("telemetry", 20_000_000, ("schema-unpartitioned-giant",)),
        ("gps_positions", 14_000_000, ("schema-unpartitioned-giant",)),
        ("search_terms", 12_000_000, ()),
    ):
        yield seed_table(with_extra(name, size.format(name, pages)), *rules)


def _list_types() -> Iterator[Seed]:
    for name, type_name in (("shifts", "timestamp"), ("breaks", "timestamp(3)"), ("rounds", "timestamp[]")):
        yield seed_table(
            Table(f"w_{name}", (f"starts_at {type_name}",)), "schema-timestamp", word="starts_at"
        )
    yield seed_table(
        Table("w_tours", ("starts_at timestamptz(3)", "day date", "hour time", "takes interval"))
    )


def _list_names() -> Iterator[Seed]:
    yield seed_table(Table("w_order_archive", ('"createdBy" text',)), "schema-name-case", word="createdBy")
    view = 'CREATE VIEW "r_OrderArchive" AS SELECT tenant_id, id FROM w_orders;\n'
    comment = render_comment("VIEW", '"r_OrderArchive"', "A selection.")
    expected = ("schema-name-case", 'public."r_OrderArchive"', "")
    yield seed_sql("r_order_archive", f"{view}{comment}\n", expected, folder="02_query_side")
    yield seed_table(Table("w_pick_lists", ('"Größe" text',)), "schema-name-case", word="Größe")
    yield seed_table(
        Table("w_pack_lists", ("größe_2 text", "_hidden text")), "schema-name-case", word="größe_2"
    )
    yield seed_sql(
        "fn_CamelCase",
        render_function('"fn_CamelCase"() RETURNS integer', "sql", "SELECT 1"),
        ("schema-name-case", 'public."fn_CamelCase"()', "fn_CamelCase"),
    )
    long_column = "c" * 63
    yield seed_table(Table("w_forms", (f"{long_column} text",)), "schema-name-length", word=long_column)
    yield seed_table(Table("w_sheets", (f"{'c' * 62} text",)))
    long_index = f"CREATE INDEX {'w_folders_' + 'i' * 53} ON w_folders (tenant_id, updated_at);"
    yield seed_table(with_extra("folders", long_index), "schema-name-length", word="w_folders_iii")
    for name, word in (("doors", "user"), ("locks", "order"), ("keys", "end")):
        yield seed_table(Table(f"w_{name}", (f'"{word}" text',)), "schema-name-reserved", word=word)
    yield seed_table(Table("w_windows", ("username text", "ordering integer", "name text", "value text")))


def _list_comments() -> Iterator[Seed]:
    yield seed_table(Table("w_uncommented", comment=""), "schema-comment")
    yield seed_table(
        Table("w_half_commented", ("code text",), uncommented=("code",)), "schema-comment", word="code"
    )
    view = "CREATE VIEW r_uncommented AS SELECT tenant_id, id FROM w_orders;\n"
    yield seed_sql(
        "r_uncommented", view, ("schema-comment", "public.r_uncommented", ""), folder="02_query_side"
    )
    function = "CREATE FUNCTION fn_uncommented() RETURNS integer LANGUAGE sql AS 'SELECT 1';\n"
    yield seed_sql("fn_uncommented", function, ("schema-comment", "public.fn_uncommented()", ""))
