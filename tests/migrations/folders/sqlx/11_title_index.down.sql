-- no-transaction, as it is built beside the work
DROP INDEX CONCURRENTLY book_title;
