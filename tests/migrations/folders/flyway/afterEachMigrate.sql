INSERT INTO hook VALUES ('afterEachMigrate');
