ALTER TABLE author DROP COLUMN last_book;
