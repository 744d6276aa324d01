-- Users, their documents, and the log of what happened to them, for PostgreSQL 13 and later.
--
-- Nothing here fails, or changes anything, where the object is there already: a database that scripts/init-db.sql made
-- moves to this folder by running it. Constraints and triggers, which know no IF NOT EXISTS, are looked for first.

CREATE EXTENSION IF NOT EXISTS "uuid-ossp";  -- uuid_generate_v4()

-- Tables ----------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS users (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    username VARCHAR(50) UNIQUE NOT NULL,
    email VARCHAR(255) UNIQUE NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
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
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
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

-- Indexes ---------------------------------------------------------------------------------------------------
-- Primary keys and UNIQUE columns have theirs already.

-- UNIQUE (email) tells A@example.com from a@example.com; people do not.
CREATE UNIQUE INDEX IF NOT EXISTS idx_users_email_lower ON users(lower(email));
CREATE INDEX IF NOT EXISTS idx_documents_user_id ON documents(user_id);
CREATE INDEX IF NOT EXISTS idx_documents_created_at ON documents(created_at);
CREATE INDEX IF NOT EXISTS idx_documents_user_status ON documents(user_id, status);
-- No status 'deleted' is allowed yet, so this one holds every document: it is there for the day of the soft delete.
CREATE INDEX IF NOT EXISTS idx_documents_active ON documents(user_id) WHERE status != 'deleted';
CREATE INDEX IF NOT EXISTS idx_audit_log_changed_at ON audit_log(changed_at);
CREATE INDEX IF NOT EXISTS idx_audit_log_row ON audit_log(table_name, row_id, id);

-- Functions -------------------------------------------------------------------------------------------------

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

-- Constraints and triggers ----------------------------------------------------------------------------------

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'users'::regclass AND conname = 'valid_email') THEN
        ALTER TABLE users ADD CONSTRAINT valid_email CHECK (validate_email(email));
    END IF;
END;
$$;

-- Triggers of one kind fire in the order of their names.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'update_users_updated_at') THEN
        CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'audit_users') THEN
        CREATE TRIGGER audit_users AFTER INSERT OR UPDATE OR DELETE ON users
            FOR EACH ROW EXECUTE FUNCTION audit_row_change();
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'documents'::regclass AND tgname = 'update_documents_updated_at'
    ) THEN
        CREATE TRIGGER update_documents_updated_at BEFORE UPDATE ON documents
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'documents'::regclass AND tgname = 'audit_documents') THEN
        CREATE TRIGGER audit_documents AFTER INSERT OR UPDATE OR DELETE ON documents
            FOR EACH ROW EXECUTE FUNCTION audit_row_change();
    END IF;
END;
$$;

-- Comments --------------------------------------------------------------------------------------------------

COMMENT ON TABLE users IS 'User accounts for the Muse AI application';
COMMENT ON COLUMN users.password_hash IS 'Salted scrypt hash; an exclamation mark if nobody can log in';
COMMENT ON TABLE documents IS 'What users write and have compiled';
COMMENT ON COLUMN documents.status IS 'Where compilation stands: draft, compiling, compiled or error';
COMMENT ON COLUMN documents.metadata IS 'A JSON object of the client''s own making, searched by containment (@>)';
COMMENT ON TABLE audit_log IS 'Who inserted, updated or deleted which row; written by triggers';
COMMENT ON COLUMN audit_log.changed_columns IS 'Names of the columns an UPDATE changed, secret ones included';
COMMENT ON COLUMN audit_log.changed_by IS 'The database role that was logged in';
COMMENT ON FUNCTION update_updated_at_column() IS 'Trigger: notes the time of an update in updated_at';
COMMENT ON FUNCTION validate_email(TEXT) IS 'Whether a text has the form of an e-mail address';
COMMENT ON FUNCTION audit_row_change() IS 'Trigger: writes a change of a row to audit_log, without secrets';

-- Initial data ----------------------------------------------------------------------------------------------

-- Nobody can log in with these: no password has the hash '!'.
INSERT INTO users (username, email, password_hash) VALUES
    ('admin', 'admin@example.com', '!'),
    ('demo', 'demo@example.com', '!')
ON CONFLICT DO NOTHING;

-- dbinit: down

DROP TABLE documents;
DROP TABLE users;
DROP TABLE audit_log;
DROP FUNCTION audit_row_change();
DROP FUNCTION validate_email(TEXT);
DROP FUNCTION update_updated_at_column();
-- Refused, and with it all of this, while anything else in the database uses the extension.
DROP EXTENSION "uuid-ossp";
