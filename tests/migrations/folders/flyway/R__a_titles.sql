CREATE OR REPLACE VIEW a_title AS SELECT title, '${second_genre}' AS genre FROM book;
