"""The application without a fault: every file of it, in order."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from tests.application.entities import (
    COMMON_TABLES,
    MATERIALIZED_VIEWS,
    READ_TABLES,
    VIEWS,
    WRITE_TABLES,
)
from tests.application.function_text import (
    list_common_functions,
    list_write_functions,
    list_write_triggers,
    render_projection,
    render_refresh,
)
from tests.application.table_text import (
    Table,
    render_comment,
    render_comments,
    render_keys,
    render_security,
    render_table,
)

COMMON, WRITE, READ, FUNCTIONS = "00_common", "01_write_side", "02_query_side", "03_functions"


@frozen
class SqlFile:
    """One file.

    Attributes:
        folder: One of the four.
        step: What comes first in a folder: a table before its keys.
        name: Without number and suffix.
        sql: Its text.
    """

    folder: str
    step: int
    name: str
    sql: str


def list_sound_files() -> Iterator[SqlFile]:
    """Yield the files of the application without faults."""
    yield from _list_common()
    for name, (columns, references) in WRITE_TABLES.items():
        definitions = tuple(columns.split("; "))
        yield from list_table_files(WRITE, Table(f"w_{name}", definitions, tuple(references.split())))
    for name, sources in READ_TABLES.items():
        yield from list_table_files(READ, make_read_table(name, sources.split()))
    yield from _list_views()
    yield from _list_functions()


def make_read_table(name: str, sources: list[str]) -> Table:
    """Return a read model that is a table."""
    said = ", ".join(f"w_{source}" for source in sources)
    return Table(
        f"r_{name}",
        ("content jsonb NOT NULL", "refreshed_at timestamptz NOT NULL DEFAULT now()"),
        comment=f"What the application shows. confiture: sources {said}",
    )


def list_table_files(folder: str, table: Table) -> Iterator[SqlFile]:
    """Yield the four files of a table."""
    yield SqlFile(folder, 1, table.name, render_table(table))
    yield SqlFile(folder, 2, f"{table.name}_keys", render_keys(table))
    yield SqlFile(folder, 3, f"{table.name}_security", render_security(table))
    yield SqlFile(folder, 4, f"{table.name}_comments", render_comments(table))


def _list_common() -> Iterator[SqlFile]:
    yield SqlFile(COMMON, 0, "extensions", "SET client_min_messages = warning;\n")
    yield SqlFile(COMMON, 0, "application_role", "CREATE SCHEMA IF NOT EXISTS internal;\n")
    for name, columns in COMMON_TABLES.items():
        definitions = tuple(columns.split("; "))
        key = "day, currency" if name == "exchange_rates" else definitions[0].split()[0]
        yield from list_table_files(
            COMMON,
            Table(
                f"c_{name}",
                definitions,
                tenant="",
                key=key,
                has_id=False,
                row_security=False,
                policy="",
                indexes=(),
            ),
        )
    yield from _list_logs()


def _list_logs() -> Iterator[SqlFile]:
    """Yield the logs, which are partitioned by month."""
    columns = {
        "audit_log": "action text NOT NULL; entity text NOT NULL; entity_id uuid; user_email text; ip_address inet",
        "entity_change_log": "entity text NOT NULL; entity_id uuid; operation text NOT NULL; content jsonb",
    }
    for name, definitions in columns.items():
        table = Table(name, tuple(definitions.split("; ")), key="tenant_id, id, created_at", indexes=())
        files = list(list_table_files(COMMON, table))
        create = files[0].sql.rstrip(";\n") + " PARTITION BY RANGE (created_at);\n"
        yield SqlFile(COMMON, 1, name, create)
        yield from files[1:]
        for month in (1, 2, 3):
            partition = (
                f"CREATE TABLE {name}_2026_{month:02} PARTITION OF {name}\n"
                f"    FOR VALUES FROM ('2026-{month:02}-01') TO ('2026-{month + 1:02}-01');\n"
            )
            yield SqlFile(COMMON, 5, f"{name}_2026_{month:02}", partition)


def _list_views() -> Iterator[SqlFile]:
    for name, source in MATERIALIZED_VIEWS.items():
        sql = (
            f"CREATE MATERIALIZED VIEW r_{name} AS\n"
            f"    SELECT tenant_id, date_trunc('month', created_at) AS month, count(*) AS rows FROM w_{source}\n"
            f"    GROUP BY tenant_id, date_trunc('month', created_at);\n"
            f"CREATE UNIQUE INDEX r_{name}_key ON r_{name} (tenant_id, month);\n"
        )
        comment = render_comment("MATERIALIZED VIEW", f"r_{name}", "A report.")
        yield SqlFile(READ, 5, f"r_{name}", f"{sql}{comment}\n")
    for name, source in VIEWS.items():
        view = f"CREATE VIEW r_{name} AS SELECT * FROM w_{source} WHERE updated_at > created_at;\n"
        yield SqlFile(READ, 5, f"r_{name}", f"{view}{render_comment('VIEW', f'r_{name}', 'A selection.')}\n")


def _list_functions() -> Iterator[SqlFile]:
    for name, sql in list_common_functions():
        yield SqlFile(FUNCTIONS, 0, name, sql)
    for table in WRITE_TABLES:
        for name, sql in list_write_functions(table):
            yield SqlFile(FUNCTIONS, 1, name, sql)
        for name, sql in list_write_triggers(table):
            yield SqlFile(FUNCTIONS, 2, name, sql)
    for model, sources in READ_TABLES.items():
        for name, sql in render_projection(model, sources.split()):
            yield SqlFile(FUNCTIONS, 3 if name.startswith("fn_") else 4, name, sql)
    for view in MATERIALIZED_VIEWS:
        name, sql = render_refresh(view)
        yield SqlFile(FUNCTIONS, 3, name, sql)
