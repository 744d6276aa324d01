-- no-transaction, as it is built beside the work
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS book_price_key
    ON book (price, isbn);
