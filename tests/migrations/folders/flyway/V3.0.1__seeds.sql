INSERT INTO author (name, born) VALUES
    ('Ursula; K. Le Guin', '1929-10-21'),
    ('O''Brien -- not a comment', NULL),
    (E'Back\\slash \'; and a tab:\t.', NULL),
    (U&'\00c9mile /* no comment */', NULL),
    ($q$Dollar $$ ; $1 'quoted'$q$, NULL),
    ('Čapek ☕ 漢字', '1890-01-09');
INSERT INTO book (isbn, author_id, title, tags, price)
    SELECT n::text, id, 'Book ' || n, (ARRAY['a', 'b', 'c'])[1:n], n * 1.5
    FROM author, generate_series(1, 3) AS n
    WHERE id = n AND '{"a": 1}'::jsonb ? 'a';
UPDATE book SET title = '%s', genre = 'poem' WHERE isbn = '2'; -- with a comment behind it
DELETE FROM book WHERE isbn = '3';
