-- migrate:up transaction:false
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS book_price_key
    ON book (price, isbn);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS book_price_key;
