-- migrate:up
CREATE FUNCTION discount(percent integer) RETURNS numeric LANGUAGE sql
BEGIN ATOMIC
    UPDATE book SET price = price * (100 - percent) / 100;
    SELECT CASE WHEN count(*) > 0 THEN sum(price) ELSE 0 END FROM book;
END;
CREATE PROCEDURE forget(name text) LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM book USING author WHERE author.id = author_id AND author.name = forget.name;
    DELETE FROM author WHERE author.name = forget.name;
END;

-- migrate:down
DROP PROCEDURE forget(text);
DROP FUNCTION discount(integer);
