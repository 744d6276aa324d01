-- migrate:up
ALTER TABLE author ADD COLUMN last_book text

-- migrate:down
ALTER TABLE author DROP COLUMN last_book