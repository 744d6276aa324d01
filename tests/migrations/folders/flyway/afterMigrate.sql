INSERT INTO hook VALUES ('afterMigrate');
