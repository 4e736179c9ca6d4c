"""SQL that renders functions, triggers, rules, policies and publications, one row for each."""

from __future__ import annotations

from confiture.catalog.table_objects import skip_members

ROUTINES = f"""
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
        format('%s.%I(%s)', s.name, p.proname, pg_get_function_identity_arguments(p.oid)),
        CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE (
            SELECT format('CREATE AGGREGATE %s.%I(%s) (%s)', s.name, p.proname,
                pg_get_function_arguments(p.oid), (
                    SELECT string_agg(v.key || ' = ' || v.value, ', ' ORDER BY v.key COLLATE "C")
                    FROM jsonb_each_text(
                        to_jsonb(g) - '{{aggfnoid,aggtranstype,aggmtranstype,aggsortop}}'::text[]
                        || jsonb_build_object('stype', format_type(g.aggtranstype, NULL),
                            'mstype', nullif(g.aggmtranstype, 0)::regtype::text,
                            'sortop', nullif(g.aggsortop, 0)::regoperator::text,
                            'parallel', p.proparallel)) v WHERE v.value IS NOT NULL))
            FROM pg_aggregate g WHERE g.aggfnoid = p.oid) END
    FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
    WHERE {skip_members("pg_proc", "p")}
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid
            AND e.deptype = 'i')
"""

_ENABLED = "CASE {} WHEN 'D' THEN E'\\nDISABLED' WHEN 'R' THEN E'\\nREPLICA' WHEN 'A' THEN E'\\nALWAYS' END"

# ALTER TABLE … DISABLE TRIGGER ALL also disables the triggers that check foreign keys.
# PostgreSQL 14 calls the triggers that a partition has from its parent internal, too.
TRIGGERS = f"""
    SELECT 'trigger', format('%I ON %s', g.tgname, g.tgrelid::regclass),
        concat(pg_get_triggerdef(g.oid), {_ENABLED.format("g.tgenabled")})
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN spaces s ON s.oid = c.relnamespace
    WHERE (NOT g.tgisinternal OR g.tgparentid <> 0 AND g.tgconstrrelid = 0)
        AND c.oid NOT IN (SELECT oid FROM own_tables)
    UNION ALL
    SELECT 'trigger', format('of the constraints of %s ON %s', k.conrelid::regclass, g.tgrelid::regclass),
        string_agg(concat(pg_get_constraintdef(k.oid), ': ', g.tgfoid::regproc,
                translate({_ENABLED.format("g.tgenabled")}, E'\\n', ' ')),
            E'\\n' ORDER BY pg_get_constraintdef(k.oid) COLLATE "C", g.tgfoid::regproc::text COLLATE "C")
    FROM pg_trigger g JOIN pg_constraint k ON k.oid = g.tgconstraint
    JOIN pg_class c ON c.oid = g.tgrelid JOIN spaces s ON s.oid = c.relnamespace
    WHERE g.tgisinternal AND g.tgenabled <> 'O'
    GROUP BY k.conrelid, g.tgrelid
"""

EVENT_TRIGGERS = f"""
    SELECT 'event trigger', quote_ident(g.evtname),
        concat('CREATE EVENT TRIGGER ', quote_ident(g.evtname), ' ON ', g.evtevent,
            ' WHEN TAG IN (' || (SELECT string_agg(quote_literal(tag), ', ' ORDER BY tag COLLATE "C")
                FROM unnest(g.evttags) tag) || ')',
            ' EXECUTE FUNCTION ', g.evtfoid::regprocedure, {_ENABLED.format("g.evtenabled")})
    FROM pg_event_trigger g
    WHERE {skip_members("pg_event_trigger", "g")}
"""

RULES = f"""
    SELECT 'rule', format('%I ON %s', r.rulename, r.ev_class::regclass),
        concat(pg_get_ruledef(r.oid), {_ENABLED.format("r.ev_enabled")})
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN spaces s ON s.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN'
        AND {skip_members("pg_class", "c")}
"""

POLICIES = """
    SELECT 'policy', format('%I ON %s', p.polname, p.polrelid::regclass),
        concat(format('CREATE POLICY %I ON %s AS %s FOR %s TO ', p.polname, p.polrelid::regclass,
            CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                WHEN 'd' THEN 'DELETE' ELSE 'ALL' END),
            coalesce((SELECT string_agg(quote_ident(o.rolname), ', ' ORDER BY o.rolname COLLATE "C")
                FROM pg_roles o WHERE o.oid = ANY (p.polroles)), 'PUBLIC'),
            E'\\nUSING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
            E'\\nWITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN spaces s ON s.oid = c.relnamespace
"""

STATISTICS = """
    SELECT 'statistics', format('%s.%I', s.name, x.stxname),
        concat(pg_get_statisticsobjdef(x.oid), ' STATISTICS ' || nullif(x.stxstattarget, -1))
    FROM pg_statistic_ext x JOIN spaces s ON s.oid = x.stxnamespace
"""


def render_publications(version: int) -> str:
    """Return SQL for the publications with their tables and schemas."""
    details = """
        || coalesce(E' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) || ')', '')
        || coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', '')"""
    schemas = """(SELECT string_agg(E'\\nFOR TABLES IN SCHEMA ' || quote_ident(n.nspname), ''
            ORDER BY n.nspname COLLATE "C") FROM pg_publication_namespace x
            JOIN pg_namespace n ON n.oid = x.pnnspid WHERE x.pnpubid = p.oid)"""
    # Column lists, row filters and schemas came with PostgreSQL 15.
    details, schemas = (details, schemas) if version >= 150000 else ("", "NULL")
    return f"""
    SELECT 'publication', quote_ident(p.pubname),
        concat('CREATE PUBLICATION ', quote_ident(p.pubname), (
            SELECT ' WITH (' || string_agg(v.key || ' = ' || v.value, ', ' ORDER BY v.key COLLATE "C") || ')'
            FROM jsonb_each_text(to_jsonb(p) - '{{oid,pubname,pubowner}}'::text[]) v),
            (SELECT string_agg(E'\\nFOR TABLE ' || r.prrelid::regclass {details}, ''
                ORDER BY r.prrelid::regclass::text COLLATE "C")
                FROM pg_publication_rel r WHERE r.prpubid = p.oid),
            {schemas})
    FROM pg_publication p
    """
