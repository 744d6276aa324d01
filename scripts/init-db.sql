-- The schema of the Muse AI example service, for PostgreSQL 13 and later.
--
-- Deprecated: scripts/migrations/ makes the same schema in steps that can be taken back. A change belongs into both
-- until this file goes; a database that it made moves to the folder with `python -m dbinit baseline 004`.
--
-- The whole file runs in one transaction. It may run again on a database that has the schema: what is there already
-- is left alone, and no table is rewritten. Hence the forms used below:
--
--   IF NOT EXISTS             extensions, tables, indexes
--   CREATE OR REPLACE         functions
--   a look into the catalog   constraints and triggers, which know no IF NOT EXISTS. DROP and CREATE would do,
--                             but lock the table against readers and check every row of it again
--   ON CONFLICT DO NOTHING    rows
--
-- A new column for a table that exists elsewhere already needs its own
-- ALTER TABLE ... ADD COLUMN IF NOT EXISTS: CREATE TABLE IF NOT EXISTS does not compare.

-- 1. Extensions ---------------------------------------------------------------------------------------------

CREATE EXTENSION IF NOT EXISTS "uuid-ossp";  -- uuid_generate_v4()

-- 2. Tables -------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS users (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    username VARCHAR(50) UNIQUE NOT NULL,
    email VARCHAR(255) UNIQUE NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS projects (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    name VARCHAR(100) NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT projects_user_id_name_key UNIQUE (user_id, name)
);

CREATE TABLE IF NOT EXISTS documents (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    title VARCHAR(255) NOT NULL,
    content TEXT NOT NULL DEFAULT '',
    status VARCHAR(20) NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'compiling', 'compiled', 'error')),
    metadata JSONB NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    tags TEXT[] NOT NULL DEFAULT '{}',
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    -- A document outlives its project, and then belongs to none.
    project_id UUID REFERENCES projects(id) ON DELETE SET NULL
);

-- What a document is made of: pictures, bibliographies, results. The bytes are in an object store.
CREATE TABLE IF NOT EXISTS files (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    document_id UUID NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
    name VARCHAR(255) NOT NULL,
    content_type VARCHAR(100) NOT NULL DEFAULT 'application/octet-stream',
    size_bytes BIGINT NOT NULL CHECK (size_bytes >= 0),
    sha256 BYTEA NOT NULL CHECK (octet_length(sha256) = 32),
    storage_key TEXT UNIQUE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT files_document_id_name_key UNIQUE (document_id, name)
);

-- No foreign keys: an entry outlives the row it is about.
CREATE TABLE IF NOT EXISTS audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name TEXT NOT NULL,
    row_id UUID NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('INSERT', 'UPDATE', 'DELETE')),
    old_data JSONB,
    new_data JSONB,
    changed_columns TEXT[],
    changed_by TEXT NOT NULL DEFAULT SESSION_USER,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- 3. Indexes ------------------------------------------------------------------------------------------------
-- Primary keys and UNIQUE columns have theirs already.

-- Single column
-- UNIQUE serves equality; this one serves username LIKE 'prefix%', whatever the database's collation.
CREATE INDEX IF NOT EXISTS idx_users_username ON users(username varchar_pattern_ops);
-- UNIQUE (email) tells A@example.com from a@example.com; people do not.
CREATE UNIQUE INDEX IF NOT EXISTS idx_users_email_lower ON users(lower(email));
CREATE INDEX IF NOT EXISTS idx_documents_user_id ON documents(user_id);
CREATE INDEX IF NOT EXISTS idx_documents_created_at ON documents(created_at);
CREATE INDEX IF NOT EXISTS idx_audit_log_changed_at ON audit_log(changed_at);

-- Composite
CREATE INDEX IF NOT EXISTS idx_documents_user_status ON documents(user_id, status);
CREATE INDEX IF NOT EXISTS idx_audit_log_row ON audit_log(table_name, row_id, id);

-- Partial
-- No status 'deleted' is allowed yet, so this one holds every document: it is there for the day of the soft delete.
CREATE INDEX IF NOT EXISTS idx_documents_active ON documents(user_id) WHERE status != 'deleted';
-- Most documents belong to no project; they need not be in the index that finds those of one.
CREATE INDEX IF NOT EXISTS idx_documents_project_id ON documents(project_id) WHERE project_id IS NOT NULL;

-- GIN, for values with many parts
CREATE INDEX IF NOT EXISTS idx_documents_tags ON documents USING GIN(tags);
-- jsonb_path_ops answers @> only, from an index of a fraction of the size.
CREATE INDEX IF NOT EXISTS idx_documents_metadata ON documents USING GIN(metadata jsonb_path_ops);
-- Full-text search: a query must repeat this very expression. A word in the title (A) outranks one in the
-- content (B).
CREATE INDEX IF NOT EXISTS idx_documents_search ON documents USING GIN(
    (setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', content), 'B'))
);

-- 4. Functions ----------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION update_updated_at_column()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = CURRENT_TIMESTAMP;
    RETURN NEW;
END;
$$ language 'plpgsql';

-- IMMUTABLE, as whatever a CHECK constraint relies on must be: rows are checked when written, and never again.
CREATE OR REPLACE FUNCTION validate_email(email TEXT)
RETURNS BOOLEAN AS $$
BEGIN
    RETURN email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$';
END;
$$ language 'plpgsql' IMMUTABLE PARALLEL SAFE;

-- For any table with a column `id UUID`. Secrets are left out of the stored rows, but changed_columns names
-- them: that a password was changed is worth knowing.
CREATE OR REPLACE FUNCTION audit_row_change()
RETURNS TRIGGER AS $$
DECLARE
    secrets CONSTANT TEXT[] := '{password_hash}';
    old_row JSONB;
    new_row JSONB;
    changed TEXT[];
BEGIN
    IF TG_OP <> 'INSERT' THEN
        old_row := to_jsonb(OLD);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        new_row := to_jsonb(NEW);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(key ORDER BY key) INTO changed
        FROM jsonb_each(new_row)
        WHERE value IS DISTINCT FROM old_row -> key;
    END IF;

    -- By its schema: otherwise a temporary table of this name would be found first, and swallow the entry.
    EXECUTE format(
        'INSERT INTO %I.audit_log (table_name, row_id, action, old_data, new_data, changed_columns)
         VALUES ($1, $2, $3, $4, $5, $6)',
        TG_TABLE_SCHEMA
    ) USING
        TG_TABLE_NAME,
        (coalesce(new_row, old_row) ->> 'id')::uuid,
        TG_OP,
        old_row - secrets,
        new_row - secrets,
        changed;
    RETURN NULL;
END;
$$ language 'plpgsql';

-- 5. Constraints that need a function -----------------------------------------------------------------------

-- On a large table that is in use, add it as NOT VALID first and VALIDATE it later: that blocks nobody meanwhile.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'users'::regclass AND conname = 'valid_email') THEN
        ALTER TABLE users ADD CONSTRAINT valid_email CHECK (validate_email(email));
    END IF;
END;
$$;

-- 6. Triggers -----------------------------------------------------------------------------------------------

-- update_users_updated_at, audit_users, and so on. Triggers of one kind fire in the order of their names.
DO $$
DECLARE
    target TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['users', 'projects', 'documents', 'files'] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_trigger
            WHERE tgrelid = target::regclass AND tgname = 'update_' || target || '_updated_at'
        ) THEN
            EXECUTE format(
                'CREATE TRIGGER %I BEFORE UPDATE ON %I
                 FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()',
                'update_' || target || '_updated_at', target
            );
        END IF;
        IF NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = target::regclass AND tgname = 'audit_' || target
        ) THEN
            EXECUTE format(
                'CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I
                 FOR EACH ROW EXECUTE FUNCTION audit_row_change()',
                'audit_' || target, target
            );
        END IF;
    END LOOP;
END;
$$;

-- 7. Comments -----------------------------------------------------------------------------------------------

COMMENT ON TABLE users IS 'User accounts for the Muse AI application';
COMMENT ON COLUMN users.password_hash IS 'Salted scrypt hash; an exclamation mark if nobody can log in';
COMMENT ON TABLE projects IS 'A user''s named collections of documents';
COMMENT ON TABLE documents IS 'What users write and have compiled';
COMMENT ON COLUMN documents.status IS 'Where compilation stands: draft, compiling, compiled or error';
COMMENT ON COLUMN documents.metadata IS 'A JSON object of the client''s own making, searched by containment (@>)';
COMMENT ON TABLE files IS 'Files that belong to a document; their bytes are in an object store';
COMMENT ON COLUMN files.storage_key IS 'Where the object store keeps the bytes';
COMMENT ON TABLE audit_log IS 'Who inserted, updated or deleted which row; written by triggers';
COMMENT ON COLUMN audit_log.changed_columns IS 'Names of the columns an UPDATE changed, secret ones included';
COMMENT ON COLUMN audit_log.changed_by IS 'The database role that was logged in';
COMMENT ON FUNCTION update_updated_at_column() IS 'Trigger: notes the time of an update in updated_at';
COMMENT ON FUNCTION validate_email(TEXT) IS 'Whether a text has the form of an e-mail address';
COMMENT ON FUNCTION audit_row_change() IS 'Trigger: writes a change of a row to audit_log, without secrets';

-- 8. Initial data -------------------------------------------------------------------------------------------

-- Nobody can log in with these: no password has the hash '!'.
INSERT INTO users (username, email, password_hash) VALUES
    ('admin', 'admin@example.com', '!'),
    ('demo', 'demo@example.com', '!')
ON CONFLICT DO NOTHING;

INSERT INTO projects (user_id, name, description)
SELECT id, 'Getting started', 'A project to look around in'
FROM users WHERE username = 'demo'
ON CONFLICT DO NOTHING;

-- A title may occur twice, so the row brings its own id for ON CONFLICT to find.
INSERT INTO documents (id, user_id, project_id, title, content, metadata, tags)
SELECT
    '00000000-0000-4000-8000-000000000001',
    projects.user_id,
    projects.id,
    'Welcome',
    'Documents have a status, tags, metadata, and a full-text search over their title and content.',
    '{"language": "en"}',
    '{welcome,example}'
FROM projects JOIN users ON users.id = projects.user_id
WHERE users.username = 'demo' AND projects.name = 'Getting started'
ON CONFLICT DO NOTHING;
