"""SQL that renders tables, indexes, views and sequences: a row of kind, identity and DDL for each.

The queries read ``spaces`` (the schemas to read, with quoted names), ``members`` (what belongs to an
extension) and ``own_tables``, which :mod:`confiture.catalog.object_query` defines.
"""

from __future__ import annotations


def skip_members(catalog: str, alias: str) -> str:
    """Return a condition on rows of ``catalog``: they belong neither to an extension nor to PostgreSQL."""
    # It spares a look at the schema of three thousand functions. The OID of ``public`` is lower, too.
    own = "" if catalog == "pg_namespace" else f"{alias}.oid >= 16384 AND "
    return (
        f"{own}NOT EXISTS (SELECT FROM members m WHERE m.classid = '{catalog}'::regclass"
        f" AND m.objid = {alias}.oid)"
    )


# Relations that are neither an extension's nor ours.
RELATIONS = f"""
    pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE {skip_members("pg_class", "c")} AND c.oid NOT IN (SELECT oid FROM own_tables)
"""

SEQUENCE_OPTIONS = (
    "format(' AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s',"
    " format_type(q.seqtypid, NULL), q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache,"
    " CASE WHEN q.seqcycle THEN ' CYCLE' END)"
)


# A server option may hold a password, which must not get into a diff or into the recorded schema.
_SECRET = "(password|passwd|secret|token|api_?key|private_?key)"


def render_options(options: str, word: str = "OPTIONS") -> str:
    """Return SQL for the options in an array of ``name=value``, sorted; NULL if there are none."""
    # COLLATE "C": in a Turkish database, APIKEY does not match apikey.
    secret = f"split_part(o, '=', 1) COLLATE \"C\" ~* '{_SECRET}'"
    value = f"CASE WHEN {secret} THEN '''***''' ELSE quote_literal(substr(o, strpos(o, '=') + 1)) END"
    return _render_list(options, word, f"quote_ident(split_part(o, '=', 1)) || ' ' || {value}")


def render_storage(options: str) -> str:
    """Return SQL for storage parameters, sorted; NULL if there are none."""
    return _render_list(options, "WITH", "o")


def _render_list(options: str, word: str, item: str) -> str:
    # Most columns and indexes have no options, and a subquery for each of them costs a third of the reading.
    return (
        f"CASE WHEN {options} IS NOT NULL THEN (SELECT ' {word} (' || string_agg({item}, ', '"
        f" ORDER BY o COLLATE \"C\") || ')' FROM unnest({options}) o) END"
    )


_COLUMN_STORAGE = """CASE a.attstorage WHEN t.typstorage THEN '' WHEN 'p' THEN ' STORAGE PLAIN'
                WHEN 'e' THEN ' STORAGE EXTERNAL' WHEN 'x' THEN ' STORAGE EXTENDED' ELSE ' STORAGE MAIN' END,
            CASE a.attcompression WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' END"""
_COLUMN_STATISTICS = f"""' STATISTICS ' || nullif(a.attstattarget, -1), {render_storage("a.attoptions")}"""
_GENERATED_END = "CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END"

# The lines of each relation's columns, in their order.
COLUMNS_CTE = f"""
    columns AS (
        SELECT a.attrelid AS oid, string_agg(concat('    ', quote_ident(a.attname), ' ',
            format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || (
                SELECT format('%I.%I', n.nspname, l.collname) FROM pg_collation l
                JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = a.attcollation) END,
            {_COLUMN_STORAGE},
            {render_options("a.attfdwoptions")},
            CASE WHEN a.attgenerated <> '' THEN ' GENERATED ALWAYS AS ('
                || pg_get_expr(d.adbin, d.adrelid) || ')' || {_GENERATED_END}
                ELSE ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END,
            CASE WHEN a.attidentity <> '' THEN (
                SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %I.%I%s%s)',
                    CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, n.nspname, i.relname,
                    CASE i.relpersistence WHEN c.relpersistence THEN '' WHEN 'u' THEN ' UNLOGGED'
                        ELSE ' LOGGED' END, {SEQUENCE_OPTIONS})
                FROM pg_depend e JOIN pg_sequence q ON q.seqrelid = e.objid JOIN pg_class i ON i.oid = e.objid
                JOIN pg_namespace n ON n.oid = i.relnamespace
                WHERE e.classid = 'pg_class'::regclass AND e.refclassid = 'pg_class'::regclass
                    AND e.refobjid = a.attrelid AND e.refobjsubid = a.attnum AND e.deptype = 'i') END,
            CASE WHEN a.attnotnull THEN ' NOT NULL' END,
            {_COLUMN_STATISTICS},
            CASE WHEN a.attinhcount > 0 AND a.attislocal AND NOT c.relispartition THEN ' LOCAL' END),
            E',\\n' ORDER BY a.attnum) AS lines
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN spaces s ON s.oid = c.relnamespace
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'c')
        GROUP BY a.attrelid
    )"""


def render_constraints(version: int) -> str:
    """Return the CTE ``constraints``: the lines of each table's constraints, by kind and name."""
    return f"""
    constraints AS (
        SELECT k.conrelid AS oid, string_agg(concat(E',\\n    CONSTRAINT ', quote_ident(k.conname), ' ',
            pg_get_constraintdef(k.oid), {render_storage("i.reloptions")},
            CASE WHEN k.contype = 'x' THEN (SELECT string_agg(
                format(' ALTER COLUMN %s SET STATISTICS %s', a.attnum, a.attstattarget), '' ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget > -1) END,
            CASE WHEN NOT x.indisvalid THEN ' INVALID' END,
            CASE WHEN k.coninhcount > 0 AND k.conislocal AND NOT c.relispartition THEN ' LOCAL' END,
            ' OF ' || quote_ident(r.conname)), ''
            ORDER BY k.contype, k.conname COLLATE "C") AS lines
        FROM pg_constraint k JOIN spaces s ON s.oid = k.connamespace JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_constraint r ON r.oid = k.conparentid
        LEFT JOIN pg_class i ON i.oid = k.conindid AND k.contype IN ('p', 'u', 'x')
        LEFT JOIN pg_index x ON x.indexrelid = i.oid
        WHERE k.contype <> 't'
            -- PostgreSQL adds a constraint for each partition of a referenced table. Its name depends on the
            -- order in which the partitions were attached.
            AND r.conrelid IS DISTINCT FROM k.conrelid {_render_named_not_null(version)}
        GROUP BY k.conrelid
    )"""


def _render_named_not_null(version: int) -> str:
    """Return a condition that leaves out each NOT NULL whose constraint has its default name."""
    if version < 180000:
        return ""
    return """AND NOT (k.contype = 'n' AND k.convalidated AND NOT k.connoinherit AND k.conname = (
            SELECT concat(c.relname, '_', a.attname, '_not_null') FROM pg_class c JOIN pg_attribute a
            ON a.attrelid = c.oid WHERE c.oid = k.conrelid AND a.attnum = k.conkey[1]))"""


_NAME = "s.name || '.' || quote_ident(c.relname)"
_PERSISTENCE = "CASE WHEN c.relpersistence = 'u' THEN 'UNLOGGED ' END"
# A partitioned table may have none, and then its partitions take the default.
_METHOD = """(SELECT ' USING ' || quote_ident(m.amname) FROM pg_am m
    WHERE m.oid = c.relam AND (m.amname <> 'heap' OR c.relkind = 'p'))"""
_PARENTS = """(SELECT string_agg(h.inhparent::regclass::text, ', ' ORDER BY h.inhseqno)
    FROM pg_inherits h WHERE h.inhrelid = c.oid)"""
_TOAST = f"""(SELECT {render_storage("t.reloptions")} FROM pg_class t WHERE t.oid = c.reltoastrelid)
                || ' FOR TOAST'"""
_INDEXES_IN_USE = """CASE c.relreplident WHEN 'f' THEN E'\\nREPLICA IDENTITY FULL'
                WHEN 'n' THEN E'\\nREPLICA IDENTITY NOTHING'
                WHEN 'i' THEN concat(E'\\nREPLICA IDENTITY USING INDEX ', (
                    SELECT x.indexrelid::regclass::text FROM pg_index x
                    WHERE x.indrelid = c.oid AND x.indisreplident)) END,
            E'\\nCLUSTER ON ' || (SELECT x.indexrelid::regclass::text FROM pg_index x
                WHERE x.indrelid = c.oid AND x.indisclustered)"""

TABLES = f"""
    SELECT CASE c.relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, {_NAME},
        concat('CREATE ', {_PERSISTENCE}, CASE c.relkind WHEN 'f' THEN 'FOREIGN ' END, 'TABLE ', {_NAME},
            ' OF ' || nullif(c.reloftype, 0)::regtype::text, E' (\\n', k.lines,
            CASE WHEN k.lines IS NULL THEN substr(o.lines, 3) ELSE o.lines END, E'\\n)',
            CASE WHEN c.relispartition THEN format(E'\\nPARTITION OF %s %s', {_PARENTS},
                pg_get_expr(c.relpartbound, c.oid)) ELSE E'\\nINHERITS (' || {_PARENTS} || ')' END,
            E'\\nPARTITION BY ' || pg_get_partkeydef(c.oid),
            {_METHOD}, {render_storage("c.reloptions")},
            {_TOAST},
            (SELECT E'\\nSERVER ' || quote_ident(v.srvname) || {render_options("f.ftoptions")}
                FROM pg_foreign_table f JOIN pg_foreign_server v ON v.oid = f.ftserver
                WHERE f.ftrelid = c.oid),
            {_INDEXES_IN_USE},
            CASE WHEN c.relrowsecurity THEN E'\\nENABLE ROW LEVEL SECURITY' END,
            CASE WHEN c.relforcerowsecurity THEN E'\\nFORCE ROW LEVEL SECURITY' END)
    FROM (SELECT c.*, s.name FROM {RELATIONS} AND c.relkind IN ('r', 'p', 'f')) c
    CROSS JOIN LATERAL (SELECT c.name) s
    LEFT JOIN columns k ON k.oid = c.oid LEFT JOIN constraints o ON o.oid = c.oid
"""

# How a materialized view stores its columns; what they are is in its query.
_STORED_COLUMNS = f"""(SELECT string_agg(E'\\nALTER COLUMN ' || quote_ident(a.attname) || w.options, ''
                ORDER BY a.attnum)
                FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                CROSS JOIN LATERAL (SELECT nullif(concat(
                    {_COLUMN_STORAGE}, {_COLUMN_STATISTICS}), '') AS options) w
                WHERE a.attrelid = c.oid AND a.attnum > 0)"""

VIEWS = f"""
    SELECT CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, {_NAME},
        concat('CREATE ', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' END, 'VIEW ', {_NAME}, {_METHOD},
            {render_storage("c.reloptions")}, {_TOAST}, E' AS\\n', pg_get_viewdef(c.oid),
            (SELECT string_agg(format(E'\\nALTER COLUMN %I SET DEFAULT %s', a.attname,
                pg_get_expr(d.adbin, d.adrelid)), '' ORDER BY a.attnum)
                FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE d.adrelid = c.oid),
            CASE c.relkind WHEN 'm' THEN concat({_STORED_COLUMNS}, {_INDEXES_IN_USE}) END)
    FROM {RELATIONS} AND c.relkind IN ('v', 'm')
"""

SEQUENCES = f"""
    SELECT 'sequence', {_NAME},
        concat('CREATE ', {_PERSISTENCE}, 'SEQUENCE ', {_NAME}, {SEQUENCE_OPTIONS},
            (SELECT format(' OWNED BY %s.%I', e.refobjid::regclass, a.attname)
                FROM pg_depend e JOIN pg_attribute a ON a.attrelid = e.refobjid AND a.attnum = e.refobjsubid
                WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'a'
                    AND e.refclassid = 'pg_class'::regclass))
    FROM pg_sequence q JOIN (SELECT c.*, s.name FROM {RELATIONS} AND c.relkind = 'S') c ON c.oid = q.seqrelid
    CROSS JOIN LATERAL (SELECT c.name) s
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
        AND e.deptype = 'i')
"""

# The indexes of constraints are in their tables.
INDEXES = f"""
    SELECT 'index', {_NAME},
        concat(pg_get_indexdef(c.oid), E'\\nATTACHED TO ' || {_PARENTS},
            CASE WHEN NOT x.indisvalid THEN E'\\nINVALID' END,
            (SELECT string_agg(format(E'\\nALTER COLUMN %s SET STATISTICS %s', a.attnum, a.attstattarget), ''
                ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attstattarget > -1))
    FROM pg_index x JOIN (SELECT c.*, s.name FROM {RELATIONS} AND c.relkind IN ('i', 'I')) c
        ON c.oid = x.indexrelid
    CROSS JOIN LATERAL (SELECT c.name) s
    WHERE x.indrelid NOT IN (SELECT oid FROM own_tables) AND NOT EXISTS (
        SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
"""
