-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY book_title ON book (title);

-- +goose Down
DROP INDEX CONCURRENTLY book_title;
