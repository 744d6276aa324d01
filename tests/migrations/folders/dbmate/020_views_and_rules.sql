--  migrate:up
CREATE VIEW cheap AS SELECT isbn, title, price FROM book WHERE price < 10;

--migrate:down
DROP VIEW cheap;

-- migrate:up
CREATE RULE cheap_delete AS ON DELETE TO cheap DO INSTEAD (
    INSERT INTO audit (what) VALUES ('rule; one');
    DELETE FROM book WHERE isbn = old.isbn;
);
DELETE FROM cheap WHERE isbn = '1';

-- migrate:down
DROP RULE cheap_delete ON cheap;
