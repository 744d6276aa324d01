CREATE TABLE loan (isbn text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
DO $do$
DECLARE
    year integer;
BEGIN
    FOR year IN 2023..2025 LOOP
        EXECUTE format('CREATE TABLE loan_%s PARTITION OF loan FOR VALUES FROM (%L) TO (%L);',
            year, make_date(year, 1, 1), make_date(year + 1, 1, 1));
    END LOOP;
END;
$do$;
INSERT INTO loan VALUES ('1', '2023-05-01'), ('2', '2024-02-29');
ALTER TABLE loan ENABLE ROW LEVEL SECURITY;
CREATE POLICY recent ON loan FOR SELECT USING (at > '2024-01-01');
GRANT SELECT ON loan TO PUBLIC;
