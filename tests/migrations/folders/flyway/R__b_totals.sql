CREATE OR REPLACE VIEW b_total AS SELECT count(*) AS total FROM book;
