-- Without a way back to what stood there: the last one.
-- +goose Up
ALTER TABLE author ADD COLUMN last_book text;

-- +goose Down
ALTER TABLE author DROP COLUMN last_book;
