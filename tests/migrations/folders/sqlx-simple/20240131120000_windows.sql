CREATE FUNCTION windows() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'line one
line two';
$$;
COMMENT ON FUNCTION windows() IS 'two
lines';
