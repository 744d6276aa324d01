CREATE SCHEMA "odd; schema";
CREATE TABLE "odd; schema"."tab""le -- no comment" ("select" integer, "ü/*" text);
CREATE SEQUENCE "odd; schema".counter START 5;
SELECT nextval('"odd; schema".counter');
CREATE FUNCTION "odd; schema"."end;"() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END;';
