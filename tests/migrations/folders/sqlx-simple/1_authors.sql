CREATE TABLE author (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    born date
);
COMMENT ON TABLE author IS 'Who writes; the books are elsewhere.';
CREATE INDEX author_name ON author (lower(name));
