-- +goose Up
CREATE VIEW cheap AS SELECT isbn, title, price FROM book WHERE price < 10;
-- +goose StatementBegin
CREATE RULE cheap_delete AS ON DELETE TO cheap DO INSTEAD (
    INSERT INTO audit (what) VALUES ('rule; one');
    DELETE FROM book WHERE isbn = old.isbn;
);
-- +goose StatementEnd
DELETE FROM cheap WHERE isbn = '1';

-- +goose Down
DROP VIEW cheap;
