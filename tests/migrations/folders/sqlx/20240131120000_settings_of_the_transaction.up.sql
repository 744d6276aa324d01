CREATE SCHEMA archive;
SET LOCAL search_path = archive, public;
CREATE TABLE old_book (LIKE book INCLUDING DEFAULTS);
RESET search_path;
CREATE VIEW old_title AS SELECT title FROM archive.old_book;
