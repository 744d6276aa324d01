DROP PROCEDURE forget(text);
DROP FUNCTION discount(integer);
