"""SQL that renders types, operators, casts, collations and text search objects, one row for each."""

from __future__ import annotations

from confiture.catalog.table_objects import skip_members


def _render_row(alias: str, *without: str) -> str:
    """Return SQL for all other columns of a catalog row, as ``name = value``, sorted."""
    keys = ",".join(without)
    return (
        f"(SELECT string_agg(v.key || ' = ' || v.value, ', ' ORDER BY v.key COLLATE \"C\")"
        f" FROM jsonb_each_text(to_jsonb({alias}) - '{{{keys}}}'::text[]) v WHERE v.value IS NOT NULL)"
    )


_DOMAIN = """concat('CREATE DOMAIN ', t.oid::regtype, ' AS ', format_type(t.typbasetype, t.typtypmod),
        ' COLLATE ' || (SELECT format('%I.%I', n.nspname, l.collname) FROM pg_collation l
            JOIN pg_namespace n ON n.oid = l.collnamespace JOIN pg_type b ON b.oid = t.typbasetype
            WHERE l.oid = t.typcollation AND t.typcollation <> b.typcollation),
        ' DEFAULT ' || coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault),
        CASE WHEN t.typnotnull THEN ' NOT NULL' END,
        (SELECT string_agg(format(E'\\n    CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ''
            ORDER BY k.conname COLLATE "C") FROM pg_constraint k WHERE k.contypid = t.oid))"""

_RANGE = """(SELECT concat('CREATE TYPE ', t.oid::regtype, ' AS RANGE (SUBTYPE = ',
            format_type(r.rngsubtype, NULL), ', MULTIRANGE = ', r.rngmultitypid::regtype, ', OPCLASS = ', (
                SELECT format('%I.%I', n.nspname, o.opcname) FROM pg_opclass o
                JOIN pg_namespace n ON n.oid = o.opcnamespace WHERE o.oid = r.rngsubopc),
            ', COLLATION = ' || nullif(r.rngcollation, 0)::regcollation, ', CANONICAL = ', r.rngcanonical,
            ', SUBTYPE_DIFF = ', r.rngsubdiff, ')') FROM pg_range r WHERE r.rngtypid = t.oid)"""

_BASE = """(SELECT format('CREATE TYPE %s (%s)', t.oid::regtype, string_agg(v.key || ' = ' || v.value, ', '
            ORDER BY v.key COLLATE "C"))
        FROM jsonb_each_text(to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray,typrelid,
            typelem,typcollation,typbasetype,typdefaultbin}'::text[]
            || jsonb_build_object('element', nullif(t.typelem, 0)::regtype::text,
                'collation', nullif(t.typcollation, 0)::regcollation::text)) v WHERE v.value IS NOT NULL)"""

# A table's row type is its table; an array type and a multirange are made with their element.
TYPES = f"""
    SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, t.oid::regtype::text,
        CASE t.typtype WHEN 'e' THEN (
            SELECT format(E'CREATE TYPE %s AS ENUM (\\n%s\\n)', t.oid::regtype,
                string_agg('    ' || quote_literal(e.enumlabel), E',\\n' ORDER BY e.enumsortorder))
                FROM pg_enum e WHERE e.enumtypid = t.oid)
        WHEN 'c' THEN format(E'CREATE TYPE %s AS (\\n%s\\n)', t.oid::regtype,
            (SELECT k.lines FROM columns k WHERE k.oid = t.typrelid))
        WHEN 'd' THEN {_DOMAIN}
        WHEN 'r' THEN {_RANGE}
        ELSE {_BASE} END
    FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE (t.typrelid = 0 OR c.relkind = 'c') AND t.typtype <> 'm' AND {skip_members("pg_type", "t")}
        AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
"""

OPERATORS = f"""
    SELECT 'operator', o.oid::regoperator::text,
        concat('CREATE OPERATOR ', o.oid::regoperator, ' (FUNCTION = ', o.oprcode::regprocedure,
            ', COMMUTATOR = ' || nullif(o.oprcom, 0)::regoperator,
            ', NEGATOR = ' || nullif(o.oprnegate, 0)::regoperator,
            ', RESTRICT = ' || nullif(o.oprrest, 0), ', JOIN = ' || nullif(o.oprjoin, 0),
            CASE WHEN o.oprcanmerge THEN ', MERGES' END, CASE WHEN o.oprcanhash THEN ', HASHES' END, ')')
    FROM pg_operator o JOIN spaces s ON s.oid = o.oprnamespace WHERE {skip_members("pg_operator", "o")}
    UNION ALL
    SELECT 'operator class', format('%s.%I USING %I', s.name, o.opcname, a.amname),
        concat('CREATE OPERATOR CLASS ', s.name, '.', quote_ident(o.opcname),
            CASE WHEN o.opcdefault THEN ' DEFAULT' END, ' FOR TYPE ', format_type(o.opcintype, NULL),
            ' USING ', quote_ident(a.amname), format(' FAMILY %I.%I', n.nspname, f.opfname),
            ' STORAGE ' || nullif(o.opckeytype, 0)::regtype)
    FROM pg_opclass o JOIN spaces s ON s.oid = o.opcnamespace JOIN pg_am a ON a.oid = o.opcmethod
    JOIN pg_opfamily f ON f.oid = o.opcfamily JOIN pg_namespace n ON n.oid = f.opfnamespace
    WHERE {skip_members("pg_opclass", "o")}
    UNION ALL
    SELECT 'operator family', format('%s.%I USING %I', s.name, f.opfname, a.amname),
        concat(format('CREATE OPERATOR FAMILY %s.%I USING %I', s.name, f.opfname, a.amname),
            (SELECT string_agg(format(E'\\n    OPERATOR %s %s %s', p.amopstrategy, p.amopopr::regoperator,
                    CASE p.amoppurpose WHEN 's' THEN 'FOR SEARCH' ELSE 'FOR ORDER BY ' || (
                        SELECT format('%I.%I', n.nspname, b.opfname) FROM pg_opfamily b
                        JOIN pg_namespace n ON n.oid = b.opfnamespace WHERE b.oid = p.amopsortfamily) END), ''
                ORDER BY p.amoplefttype::regtype::text COLLATE "C",
                    p.amoprighttype::regtype::text COLLATE "C", p.amopstrategy, p.amoppurpose)
                FROM pg_amop p WHERE p.amopfamily = f.oid),
            (SELECT string_agg(format(E'\\n    FUNCTION %s (%s, %s) %s', p.amprocnum,
                    p.amproclefttype::regtype, p.amprocrighttype::regtype, p.amproc::regprocedure), ''
                ORDER BY p.amproclefttype::regtype::text COLLATE "C",
                    p.amprocrighttype::regtype::text COLLATE "C", p.amprocnum)
                FROM pg_amproc p WHERE p.amprocfamily = f.oid))
    FROM pg_opfamily f JOIN spaces s ON s.oid = f.opfnamespace JOIN pg_am a ON a.oid = f.opfmethod
    WHERE {skip_members("pg_opfamily", "f")}
"""

# Objects of no schema: those that initdb made have an oid below 16384.
CASTS = f"""
    SELECT 'cast', format('(%s AS %s)', format_type(k.castsource, NULL), format_type(k.casttarget, NULL)),
        concat('CREATE CAST (', format_type(k.castsource, NULL), ' AS ', format_type(k.casttarget, NULL), ')',
            CASE k.castmethod WHEN 'f' THEN ' WITH FUNCTION ' || k.castfunc::regprocedure
                WHEN 'i' THEN ' WITH INOUT' ELSE ' WITHOUT FUNCTION' END,
            CASE k.castcontext WHEN 'a' THEN ' AS ASSIGNMENT' WHEN 'i' THEN ' AS IMPLICIT' END)
    FROM pg_cast k WHERE k.oid >= 16384 AND {skip_members("pg_cast", "k")}
    UNION ALL
    SELECT 'transform', format('FOR %s LANGUAGE %I', format_type(k.trftype, NULL), l.lanname),
        format('CREATE TRANSFORM FOR %s LANGUAGE %I (FROM SQL %s, TO SQL %s)', format_type(k.trftype, NULL),
            l.lanname, k.trffromsql::regprocedure, k.trftosql::regprocedure)
    FROM pg_transform k JOIN pg_language l ON l.oid = k.trflang WHERE {skip_members("pg_transform", "k")}
    UNION ALL
    SELECT 'language', quote_ident(l.lanname), format('CREATE LANGUAGE %I (%s; %s; %s; %s)', l.lanname,
        CASE WHEN l.lanpltrusted THEN 'TRUSTED' ELSE 'UNTRUSTED' END, l.lanplcallfoid::regprocedure,
        l.laninline::regprocedure, l.lanvalidator::regprocedure)
    FROM pg_language l WHERE l.oid >= 16384 AND {skip_members("pg_language", "l")}
    UNION ALL
    SELECT 'access method', quote_ident(a.amname), format('CREATE ACCESS METHOD %I TYPE %s HANDLER %s',
        a.amname, CASE a.amtype WHEN 't' THEN 'TABLE' ELSE 'INDEX' END, a.amhandler::regprocedure)
    FROM pg_am a WHERE a.oid >= 16384 AND {skip_members("pg_am", "a")}
    UNION ALL
    SELECT 'conversion', format('%s.%I', s.name, k.conname),
        format('CREATE %sCONVERSION %s.%I FOR %L TO %L FROM %s', CASE WHEN k.condefault THEN 'DEFAULT ' END,
            s.name, k.conname, pg_encoding_to_char(k.conforencoding), pg_encoding_to_char(k.contoencoding),
            k.conproc::regprocedure)
    FROM pg_conversion k JOIN spaces s ON s.oid = k.connamespace WHERE {skip_members("pg_conversion", "k")}
"""

# The version of a collation is that of the machine's library, and its encoding that of the database.
_COLLATION = _render_row("l", "oid", "collname", "collnamespace", "collowner", "collversion", "collencoding")
COLLATIONS = f"""
    SELECT 'collation', format('%s.%I', s.name, l.collname), format('CREATE COLLATION %s.%I (%s)', s.name,
        l.collname, {_COLLATION})
    FROM pg_collation l JOIN spaces s ON s.oid = l.collnamespace WHERE {skip_members("pg_collation", "l")}
"""

TEXT_SEARCH = f"""
    SELECT 'text search configuration', format('%s.%I', s.name, k.cfgname),
        concat(format('CREATE TEXT SEARCH CONFIGURATION %s.%I (PARSER = %I.%I)', s.name, k.cfgname, n.nspname,
            p.prsname), (
            SELECT string_agg(format(E'\\n    FOR %s WITH %s', o.alias, w.dictionaries), ''
                ORDER BY o.alias COLLATE "C")
            FROM (SELECT m.maptokentype, string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno)
                AS dictionaries FROM pg_ts_config_map m WHERE m.mapcfg = k.oid GROUP BY 1) w
            JOIN ts_token_type(k.cfgparser) o ON o.tokid = w.maptokentype))
    FROM pg_ts_config k JOIN spaces s ON s.oid = k.cfgnamespace JOIN pg_ts_parser p ON p.oid = k.cfgparser
    JOIN pg_namespace n ON n.oid = p.prsnamespace WHERE {skip_members("pg_ts_config", "k")}
    UNION ALL
    SELECT 'text search dictionary', format('%s.%I', s.name, d.dictname),
        format('CREATE TEXT SEARCH DICTIONARY %s.%I (TEMPLATE = %I.%I, %s)', s.name, d.dictname, n.nspname,
            t.tmplname, d.dictinitoption)
    FROM pg_ts_dict d JOIN spaces s ON s.oid = d.dictnamespace JOIN pg_ts_template t ON t.oid = d.dicttemplate
    JOIN pg_namespace n ON n.oid = t.tmplnamespace WHERE {skip_members("pg_ts_dict", "d")}
    UNION ALL
    SELECT 'text search parser', format('%s.%I', s.name, p.prsname),
        format('CREATE TEXT SEARCH PARSER %s.%I (%s)', s.name, p.prsname,
            {_render_row("p", "oid", "prsname", "prsnamespace")})
    FROM pg_ts_parser p JOIN spaces s ON s.oid = p.prsnamespace WHERE {skip_members("pg_ts_parser", "p")}
    UNION ALL
    SELECT 'text search template', format('%s.%I', s.name, t.tmplname),
        format('CREATE TEXT SEARCH TEMPLATE %s.%I (%s)', s.name, t.tmplname,
            {_render_row("t", "oid", "tmplname", "tmplnamespace")})
    FROM pg_ts_template t JOIN spaces s ON s.oid = t.tmplnamespace
    WHERE {skip_members("pg_ts_template", "t")}
"""
