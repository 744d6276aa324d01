-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION windows() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'line one
line two';
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION windows() IS 'two
lines';

-- +goose Down
DROP FUNCTION windows();
