-- +goose Up
CREATE TYPE genre AS ENUM ('novel', 'essay');
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_type WHERE typname = 'isbn') THEN
        CREATE DOMAIN isbn AS text CHECK (value ~ '^[0-9X-]{10,17}$');
    END IF;
END
$$;
-- +goose StatementEnd
ALTER TYPE genre ADD VALUE 'poem' BEFORE 'essay';
ALTER TABLE book ADD COLUMN genre genre NOT NULL DEFAULT 'novel';

-- +goose Down
ALTER TABLE book DROP COLUMN genre;
DROP DOMAIN isbn;
DROP TYPE genre;
