DROP VIEW old_title;
DROP SCHEMA archive CASCADE;
