INSERT INTO hook VALUES ('beforeEachMigrate');
