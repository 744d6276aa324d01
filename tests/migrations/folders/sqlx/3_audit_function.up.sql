CREATE TABLE audit (what text NOT NULL, old jsonb, new jsonb);
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    quoted text := 'it''s; not the end';
BEGIN
    -- A semicolon; and a dollar quote inside of another one.
    EXECUTE format($sql$INSERT INTO audit VALUES (%L, $1, $2);$sql$, tg_table_name)
        USING to_jsonb(old), to_jsonb(new);
    IF tg_op = 'DELETE' THEN
        RETURN old;
    END IF;
    RETURN new;
END;
$body$;
CREATE TRIGGER audit_book AFTER INSERT OR UPDATE OR DELETE ON book
    FOR EACH ROW EXECUTE FUNCTION audit_change();
