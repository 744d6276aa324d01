CREATE TABLE IF NOT EXISTS hook (name text);
INSERT INTO hook VALUES ('beforeMigrate');
