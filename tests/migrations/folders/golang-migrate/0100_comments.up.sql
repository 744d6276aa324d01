/* A comment; /* inside; of */ another one; */
CREATE TABLE note (id integer, text text /* ; */ DEFAULT '/* ; */'); -- ; DROP TABLE note;
