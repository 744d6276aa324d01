-- no-transaction, as it is built beside the work
DROP INDEX CONCURRENTLY IF EXISTS book_price_key;
