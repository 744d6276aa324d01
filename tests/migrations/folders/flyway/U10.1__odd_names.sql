DROP SCHEMA "odd; schema" CASCADE;
