-- The part of pgGit's interface that the plugin uses: the same names, arguments and columns as in 0.2, with the
-- smallest bodies that behave alike.
CREATE SCHEMA pggit;
CREATE TYPE pggit.object_type AS ENUM ('TABLE', 'COLUMN', 'VIEW', 'FUNCTION');
CREATE TYPE pggit.change_type AS ENUM ('CREATE', 'ALTER', 'DROP');
CREATE TYPE pggit.change_severity AS ENUM ('MAJOR', 'MINOR', 'PATCH');
CREATE TABLE pggit.objects (
    id serial PRIMARY KEY, object_type pggit.object_type NOT NULL, schema_name text NOT NULL,
    object_name text NOT NULL, full_name text GENERATED ALWAYS AS (schema_name || '.' || object_name) STORED,
    branch_name text DEFAULT 'main', version integer NOT NULL DEFAULT 1, version_major integer NOT NULL DEFAULT 1,
    version_minor integer NOT NULL DEFAULT 0, version_patch integer NOT NULL DEFAULT 0, is_active boolean DEFAULT true,
    created_at timestamp DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE pggit.history (
    id serial PRIMARY KEY, object_id integer NOT NULL REFERENCES pggit.objects, change_type pggit.change_type NOT NULL,
    change_severity pggit.change_severity NOT NULL, new_version integer, change_description text, created_at timestamp DEFAULT CURRENT_TIMESTAMP,
    created_by text DEFAULT CURRENT_USER
);
CREATE TABLE pggit.branches (id serial PRIMARY KEY, name text NOT NULL UNIQUE CHECK (name ~ '^[a-zA-Z0-9._/#-]+$'));
INSERT INTO pggit.branches (id, name) VALUES (1, 'main');
CREATE TABLE pggit.commits (
    id serial PRIMARY KEY, hash text NOT NULL UNIQUE, branch_id integer NOT NULL REFERENCES pggit.branches,
    message text, tree_hash text
);
CREATE TABLE pggit.system_events (
    event_id serial PRIMARY KEY, event_type text NOT NULL, event_data jsonb, created_at timestamptz DEFAULT now()
);

CREATE FUNCTION pggit.create_commit(
    p_branch_name text, p_message text, p_sql_content text, p_parent_ids uuid[] DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pggit.branches (name) SELECT p_branch_name
    WHERE NOT EXISTS (SELECT FROM pggit.branches WHERE name = p_branch_name);
    INSERT INTO pggit.commits (hash, branch_id, message, tree_hash)
    SELECT encode(sha256((p_message || p_sql_content || CURRENT_TIMESTAMP::text)::bytea), 'hex'), id, p_message,
        encode(sha256(p_sql_content::bytea), 'hex')
    FROM pggit.branches WHERE name = p_branch_name;
    RETURN gen_random_uuid();
END $$;

CREATE FUNCTION pggit.get_version(p_object_name text) RETURNS TABLE (
    object_name text, schema_name text, version integer, version_string text, created_at timestamp
) LANGUAGE sql AS $$
    SELECT object_name, schema_name, o.version,
        o.version_major || '.' || o.version_minor || '.' || o.version_patch, o.created_at
    FROM pggit.objects o WHERE full_name = p_object_name AND is_active
$$;

CREATE FUNCTION pggit.get_history(p_object_name text, p_limit integer DEFAULT 10) RETURNS TABLE (
    version integer, change_type pggit.change_type, change_description text, created_at timestamp, created_by text
) LANGUAGE sql AS $$
    SELECT h.new_version, h.change_type, h.change_description, h.created_at, h.created_by
    FROM pggit.history h JOIN pggit.objects o ON o.id = h.object_id
    WHERE o.full_name = p_object_name ORDER BY h.created_at DESC LIMIT p_limit
$$;
