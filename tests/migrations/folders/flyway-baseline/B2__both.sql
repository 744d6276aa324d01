-- Instead of V1 and V2, where nothing was applied yet.
CREATE TABLE author (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    born date
);
COMMENT ON TABLE author IS 'Who writes; the books are elsewhere.';
CREATE INDEX author_name ON author (lower(name));
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
CREATE TABLE by_baseline ();
