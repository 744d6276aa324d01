-- Three roles for one database, so that the service cannot change its own schema:
--
--   muse_ai_owner    owns every object; nobody can log in as it
--   muse_ai_migrate  the login of `python -m dbinit`; acts as muse_ai_owner from its first statement on
--   muse_ai_run      the login of the service: reads and writes rows, and reads dbinit's history
--
-- Run it in the database concerned, as a superuser and before the first migration. Running it again does no harm.
--
--   psql -d muse_ai -v ON_ERROR_STOP=1 -f roles.sql
--   psql -d muse_ai -c '\password muse_ai_migrate' -c '\password muse_ai_run'
--
-- (\password hashes on the client, so that no password reaches the server's log.) The history has a schema of its own,
-- as muse_ai_run may write to every table of `public`: set DBINIT_HISTORY_SCHEMA=dbinit for both logins.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['muse_ai_owner', 'muse_ai_migrate', 'muse_ai_run'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I', name);
        END IF;
    END LOOP;
END
$$;

ALTER ROLE muse_ai_owner NOLOGIN;
ALTER ROLE muse_ai_migrate LOGIN;
ALTER ROLE muse_ai_run LOGIN;
GRANT muse_ai_owner TO muse_ai_migrate;
-- Optional: lets dbinit say what a session that it waits for is doing. It shows the queries of all databases.
-- GRANT pg_read_all_stats TO muse_ai_owner;

DO $$
DECLARE
    database text := current_database();
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', database);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO muse_ai_migrate, muse_ai_run', database);
    -- CREATE is for schemas and for trusted extensions such as "uuid-ossp".
    EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO muse_ai_owner', database);
    -- A session of muse_ai_migrate begins with SET ROLE, so what it creates belongs to muse_ai_owner.
    EXECUTE format('ALTER ROLE muse_ai_migrate IN DATABASE %I SET role = muse_ai_owner', database);
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC; -- the default since PostgreSQL 15
GRANT USAGE, CREATE ON SCHEMA public TO muse_ai_owner;
GRANT USAGE ON SCHEMA public TO muse_ai_run;
CREATE SCHEMA IF NOT EXISTS dbinit AUTHORIZATION muse_ai_owner;
GRANT USAGE ON SCHEMA dbinit TO muse_ai_run;

-- For what muse_ai_owner creates from now on. In a database with tables, hand these over and grant them first:
--   REASSIGN OWNED BY the_old_owner TO muse_ai_owner;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO muse_ai_run;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO muse_ai_run;
ALTER DEFAULT PRIVILEGES FOR ROLE muse_ai_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO muse_ai_run;
ALTER DEFAULT PRIVILEGES FOR ROLE muse_ai_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO muse_ai_run;
ALTER DEFAULT PRIVILEGES FOR ROLE muse_ai_owner IN SCHEMA dbinit
    GRANT SELECT ON TABLES TO muse_ai_run;
