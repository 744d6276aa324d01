-- no-transaction
CREATE INDEX CONCURRENTLY book_title ON book (title);
