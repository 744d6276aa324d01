
-- no-transaction would have to stand at the very beginning
-- Several statements, one of them begins on the line on which another one ends.
CREATE TABLE book (
    isbn text PRIMARY KEY,
    author_id integer NOT NULL REFERENCES author (id),
    title text NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    price numeric(10, 2) NOT NULL DEFAULT 0,
    shout text GENERATED ALWAYS AS (upper(title)) STORED
); CREATE INDEX book_author ON book (author_id);
ALTER TABLE book ADD CONSTRAINT book_price CHECK (price >= 0);
