-- Projects: named collections of a user's documents.
-- Code that knows no projects goes on working: a document belongs to none unless it is told otherwise.
-- dbinit: compatible-with 001

CREATE TABLE IF NOT EXISTS projects (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    name VARCHAR(100) NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT projects_user_id_name_key UNIQUE (user_id, name)
);

-- A document outlives its project, and then belongs to none.
ALTER TABLE documents ADD COLUMN IF NOT EXISTS project_id UUID REFERENCES projects(id) ON DELETE SET NULL;

-- Most documents belong to no project; they need not be in the index that finds those of one.
CREATE INDEX IF NOT EXISTS idx_documents_project_id ON documents(project_id) WHERE project_id IS NOT NULL;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'projects'::regclass AND tgname = 'update_projects_updated_at'
    ) THEN
        CREATE TRIGGER update_projects_updated_at BEFORE UPDATE ON projects
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'projects'::regclass AND tgname = 'audit_projects') THEN
        CREATE TRIGGER audit_projects AFTER INSERT OR UPDATE OR DELETE ON projects
            FOR EACH ROW EXECUTE FUNCTION audit_row_change();
    END IF;
END;
$$;

COMMENT ON TABLE projects IS 'A user''s named collections of documents';

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

-- dbinit: down

DELETE FROM documents WHERE id = '00000000-0000-4000-8000-000000000001';
ALTER TABLE documents DROP COLUMN project_id;
DROP TABLE projects;
