-- no-transaction, as it is built beside the work
CREATE INDEX CONCURRENTLY book_title ON book (title);
