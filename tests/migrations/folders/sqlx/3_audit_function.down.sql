DROP TRIGGER audit_book ON book;
DROP FUNCTION audit_change();
DROP TABLE audit;
