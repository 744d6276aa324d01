-- +goose Up
-- +goose ENVSUB OFF
-- +goose StatementBegin
/* A comment; /* inside; of */ another one; */
CREATE TABLE note (id integer, text text /* ; */ DEFAULT '/* ; */'); -- ; DROP TABLE note;
-- +goose StatementEnd

-- +goose Down
DROP TABLE note;
