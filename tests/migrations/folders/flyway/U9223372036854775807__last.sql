-- Repeatable migrations are taken back by nobody else.
DROP VIEW a_title, b_total;
ALTER TABLE author DROP COLUMN last_book;
