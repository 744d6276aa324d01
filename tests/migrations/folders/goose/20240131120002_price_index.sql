-- +goose NO TRANSACTION
-- +goose Up
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS book_price_key
    ON book (price, isbn);

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS book_price_key;
