ALTER TABLE author ADD COLUMN last_book text;
