-- migrate:up
/* A comment; /* inside; of */ another one; */
CREATE TABLE note (id integer, text text /* ; */ DEFAULT '/* ; */'); -- ; DROP TABLE note;
SELECT 'one
 -- migrate:down
';

-- migrate:down
DROP TABLE note;
