BEGIN;

CREATE TYPE genre AS ENUM ('novel', 'essay');
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_type WHERE typname = 'isbn') THEN
        CREATE DOMAIN isbn AS text CHECK (value ~ '^[0-9X-]{10,17}$');
    END IF;
END
$$;
ALTER TYPE genre ADD VALUE 'poem' BEFORE 'essay';
ALTER TABLE book ADD COLUMN genre genre NOT NULL DEFAULT 'novel';

COMMIT;
