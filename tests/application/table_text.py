"""Writes the SQL of a table, with all that a table of this application has."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen

TENANT = "tenant_id uuid NOT NULL"
POLICY = "tenant_id = current_setting('app.tenant_id')::uuid"


@frozen
class Table:
    """A table with its keys, indexes, row security and comments.

    Attributes:
        name: With its prefix: ``w_orders``.
        columns: The definitions besides the tenant's column and the id.
        references: The tables of the write side that it refers to, without their prefix.
        tenant: The definition of the tenant's column; empty for none.
        key: The columns of the primary key; empty for none.
        extra: Further SQL about the table, such as indexes.
        policy: What its policy asks for; empty for no policy.
        row_security: True if row security is enabled.
        comment: Empty for none.
        uncommented: The columns without a comment.
        persistence: ``"UNLOGGED"`` or empty.
    """

    name: str
    columns: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    tenant: str = TENANT
    key: str = "tenant_id, id"
    extra: tuple[str, ...] = ()
    policy: str = POLICY
    row_security: bool = True
    comment: str = "A table of the application."
    uncommented: tuple[str, ...] = ()
    persistence: str = ""
    has_id: bool = True
    indexes: tuple[str, ...] = field(default=("(tenant_id, created_at)",))

    def list_definitions(self) -> Iterator[str]:
        """Yield the definitions of all columns."""
        if self.tenant:
            yield self.tenant
        if self.has_id:
            yield "id uuid NOT NULL DEFAULT gen_random_uuid()"
        yield from (f"{singular(name)}_id uuid" for name in self.references)
        yield from self.columns
        yield "created_at timestamptz NOT NULL DEFAULT now()"
        yield "updated_at timestamptz NOT NULL DEFAULT now()"


def singular(name: str) -> str:
    """Return ``order`` for ``orders``: what a column that refers to it begins with."""
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name.removesuffix("s")


def render_table(table: Table) -> str:
    """Return the CREATE TABLE."""
    lines = list(table.list_definitions())
    if table.key:
        lines.append(f"CONSTRAINT {table.name}_pkey PRIMARY KEY ({table.key})")
    body = ",\n    ".join(lines)
    persistence = f"{table.persistence} " if table.persistence else ""
    return f"CREATE {persistence}TABLE {table.name} (\n    {body}\n);\n"


def render_keys(table: Table) -> str:
    """Return its foreign keys, each with an index, and the indexes that it has besides."""
    lines = []
    if table.tenant == TENANT:
        lines.append(
            f"ALTER TABLE {table.name} ADD CONSTRAINT {table.name}_tenant_fkey\n"
            "    FOREIGN KEY (tenant_id) REFERENCES c_tenants (id);"
        )
    for name in table.references:
        column = f"{singular(name)}_id"
        lines.append(
            f"ALTER TABLE {table.name} ADD CONSTRAINT {table.name}_{column}_fkey\n"
            f"    FOREIGN KEY (tenant_id, {column}) REFERENCES w_{name} (tenant_id, id);\n"
            f"CREATE INDEX {table.name}_{column}_idx ON {table.name} (tenant_id, {column});"
        )
    for number, index in enumerate(table.indexes, start=1):
        lines.append(f"CREATE INDEX {table.name}_idx{number} ON {table.name} {index};")
    return "\n".join((*lines, *table.extra)) + "\n"


def render_security(table: Table) -> str:
    """Return its row security."""
    lines = [f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY;"] if table.row_security else []
    if table.policy:
        lines.append(
            f"CREATE POLICY {table.name}_tenant ON {table.name}\n"
            f"    USING ({table.policy}) WITH CHECK ({table.policy});"
        )
    return "\n".join(lines) + "\n"


def render_comments(table: Table) -> str:
    """Return the comments on it and its columns."""
    lines = [render_comment("TABLE", table.name, table.comment)] if table.comment else []
    for definition in table.list_definitions():
        column = definition.split()[0]
        if column not in table.uncommented:
            said = f"The {column.strip(chr(34)).replace('_', ' ')}."
            lines.append(render_comment("COLUMN", f"{table.name}.{column}", said))
    return "\n".join(lines) + "\n"


def render_comment(kind: str, name: str, text: str) -> str:
    """Return a COMMENT ON."""
    quoted = text.replace("'", "''")
    return f"COMMENT ON {kind} {name} IS '{quoted}';"
