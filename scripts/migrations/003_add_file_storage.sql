-- Files: what a document is made of besides its text, such as pictures, bibliographies and results.
-- The bytes are in an object store.
-- dbinit: compatible-with 001

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

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'files'::regclass AND tgname = 'update_files_updated_at') THEN
        CREATE TRIGGER update_files_updated_at BEFORE UPDATE ON files
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'files'::regclass AND tgname = 'audit_files') THEN
        CREATE TRIGGER audit_files AFTER INSERT OR UPDATE OR DELETE ON files
            FOR EACH ROW EXECUTE FUNCTION audit_row_change();
    END IF;
END;
$$;

COMMENT ON TABLE files IS 'Files that belong to a document; their bytes are in an object store';
COMMENT ON COLUMN files.storage_key IS 'Where the object store keeps the bytes';

-- dbinit: down

-- The bytes stay in the object store, and storage_key is what finds them: keep it elsewhere if they are to be removed.
DROP TABLE files;
