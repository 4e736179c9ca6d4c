"""Writes the functions and triggers of the application."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.application.table_text import render_comment, singular


def render_function(head: str, language: str, body: str, options: str = "", comment: str = "") -> str:
    """Return a CREATE FUNCTION with a comment; ``head`` is ``fn_x(p_id uuid) RETURNS uuid``."""
    said = comment or f"Does what {head.split('(')[0]} says."
    signature = head.partition(" RETURNS ")[0]
    create = f"CREATE FUNCTION {head}\nLANGUAGE {language}{options} AS $body$\n{body}\n$body$;\n"
    return create + render_comment("FUNCTION", signature, said) + "\n"


def list_write_functions(name: str) -> Iterator[tuple[str, str]]:
    """Yield the functions of a write table, each with the name of its file."""
    table, one = f"w_{name}", singular(name)
    both = "p_tenant uuid, p_id uuid"
    where = "tenant_id = p_tenant AND id = p_id"
    yield (
        f"fn_create_{one}",
        render_function(
            f"fn_create_{one}(p_tenant uuid, p_data jsonb) RETURNS uuid",
            "plpgsql",
            f"DECLARE\n    v_id uuid;\nBEGIN\n    INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table},\n"
            f"        p_data || jsonb_build_object('tenant_id', p_tenant)) RETURNING id INTO v_id;\n"
            f"    INSERT INTO audit_log (tenant_id, action, entity, entity_id)\n"
            f"    VALUES (p_tenant, 'create', '{one}', v_id);\n    RETURN v_id;\nEND",
        ),
    )
    yield (
        f"fn_touch_{one}",
        render_function(
            f"fn_touch_{one}({both}) RETURNS boolean",
            "plpgsql",
            f"BEGIN\n    UPDATE {table} SET updated_at = now() WHERE {where};\n    RETURN FOUND;\nEND",
        ),
    )
    yield (
        f"fn_delete_{one}",
        render_function(
            f"fn_delete_{one}({both}) RETURNS void",
            "plpgsql",
            f"BEGIN\n    IF NOT EXISTS (SELECT FROM {table} WHERE {where}) THEN\n"
            f"        RAISE EXCEPTION 'there is no {one} %', p_id;\n    END IF;\n"
            f"    DELETE FROM {table} WHERE {where};\nEND",
            " SECURITY DEFINER SET search_path = pg_catalog, public",
        ),
    )
    yield (
        f"fn_get_{one}",
        render_function(
            f"fn_get_{one}({both}) RETURNS SETOF {table}",
            "sql",
            f"SELECT * FROM {table} WHERE {where}",
            " STABLE",
        ),
    )
    yield (
        f"fn_count_{name}",
        (
            f"CREATE FUNCTION fn_count_{name}(p_tenant uuid) RETURNS bigint LANGUAGE sql STABLE\n"
            f"BEGIN ATOMIC\n    SELECT count(*) FROM {table} WHERE tenant_id = p_tenant;\nEND;\n"
            + render_comment("FUNCTION", f"fn_count_{name}(p_tenant uuid)", f"Counts the {name} of a tenant.")
            + "\n"
        ),
    )
    yield (
        f"fn_recent_{name}",
        render_function(
            f"fn_recent_{name}(p_tenant uuid, p_most integer) RETURNS SETOF {table}",
            "sql",
            f"SELECT * FROM {table} WHERE tenant_id = p_tenant ORDER BY created_at DESC LIMIT p_most",
            " STABLE",
        ),
    )


def list_write_triggers(name: str) -> Iterator[tuple[str, str]]:
    """Yield the triggers of a write table, each with the name of its file."""
    table = f"w_{name}"
    yield (
        f"tr_{name}_updated_at",
        (
            f"CREATE TRIGGER tr_{name}_updated_at BEFORE UPDATE ON {table}\n"
            "    FOR EACH ROW EXECUTE FUNCTION fn_set_updated_at();\n"
        ),
    )
    yield (
        f"tr_{name}_changes",
        (
            f"CREATE TRIGGER tr_{name}_changes AFTER INSERT OR UPDATE OR DELETE ON {table}\n"
            "    FOR EACH ROW EXECUTE FUNCTION fn_log_change();\n"
        ),
    )


def list_common_functions() -> Iterator[tuple[str, str]]:
    """Yield the functions that the triggers of all tables call."""
    yield (
        "fn_set_updated_at",
        render_function(
            "fn_set_updated_at() RETURNS trigger",
            "plpgsql",
            "BEGIN\n    NEW.updated_at := now();\n    RETURN NEW;\nEND",
        ),
    )
    yield (
        "fn_log_change",
        render_function(
            "fn_log_change() RETURNS trigger",
            "plpgsql",
            "DECLARE\n    v_row record;\nBEGIN\n    v_row := coalesce(NEW, OLD);\n"
            "    INSERT INTO entity_change_log (tenant_id, entity, entity_id, operation, content)\n"
            "    VALUES (v_row.tenant_id, TG_TABLE_NAME, v_row.id, TG_OP, to_jsonb(v_row));\n    RETURN NULL;\nEND",
        ),
    )


def render_projection(model: str, sources: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what fills a read model: a trigger on its first source, and a function that rebuilds it."""
    first, *others = sources
    joins = "".join(
        f"\n        LEFT JOIN w_{name} {name} ON {name}.tenant_id = s.tenant_id" for name in others
    )
    insert = (
        f"    INSERT INTO r_{model} (tenant_id, id, content)\n"
        f"    SELECT DISTINCT ON (s.tenant_id, s.id) s.tenant_id, s.id, to_jsonb(s) FROM w_{first} s{joins}\n"
    )
    conflict = "    ON CONFLICT (tenant_id, id) DO UPDATE SET content = excluded.content;\n"
    yield (
        f"fn_project_{model}",
        render_function(
            f"fn_project_{model}() RETURNS trigger",
            "plpgsql",
            f"BEGIN\n{insert}    WHERE s.tenant_id = NEW.tenant_id AND s.id = NEW.id\n{conflict}    RETURN NULL;\nEND",
        ),
    )
    yield (
        f"tr_project_{model}",
        (
            f"CREATE TRIGGER tr_project_{model} AFTER INSERT OR UPDATE ON w_{first}\n"
            f"    FOR EACH ROW EXECUTE FUNCTION fn_project_{model}();\n"
        ),
    )
    yield (
        f"fn_rebuild_{model}",
        render_function(
            f"fn_rebuild_{model}(p_tenant uuid) RETURNS void",
            "plpgsql",
            f"BEGIN\n    DELETE FROM r_{model} WHERE tenant_id = p_tenant;\n"
            f"{insert}    WHERE s.tenant_id = p_tenant\n{conflict}END",
        ),
    )
    yield (
        f"fn_search_{model}",
        render_function(
            f"fn_search_{model}(p_tenant uuid, p_text text) RETURNS SETOF r_{model}",
            "sql",
            f"SELECT * FROM r_{model} WHERE tenant_id = p_tenant AND content::text ILIKE p_text",
            " STABLE",
        ),
    )


def render_refresh(view: str) -> tuple[str, str]:
    """Return the function that refreshes a materialized view."""
    return f"fn_refresh_{view}", render_function(
        f"fn_refresh_{view}() RETURNS void",
        "plpgsql",
        f"BEGIN\n    REFRESH MATERIALIZED VIEW CONCURRENTLY r_{view};\nEND",
    )
