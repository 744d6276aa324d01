-- Indexes for searching: by the beginning of a name, by tag, by metadata, and for words.
--
-- Built like this, an index lets nobody write to its table meanwhile. On a large table that is in use, give each its
-- own file with CREATE INDEX CONCURRENTLY and the annotation no-transaction.
-- dbinit: compatible-with 001

-- UNIQUE serves equality; this one serves username LIKE 'prefix%', whatever the database's collation.
CREATE INDEX IF NOT EXISTS idx_users_username ON users(username varchar_pattern_ops);

-- GIN, for values with many parts
CREATE INDEX IF NOT EXISTS idx_documents_tags ON documents USING GIN(tags);
-- jsonb_path_ops answers @> only, from an index of a fraction of the size.
CREATE INDEX IF NOT EXISTS idx_documents_metadata ON documents USING GIN(metadata jsonb_path_ops);
-- Full-text search: a query must repeat this very expression. A word in the title (A) outranks one in the
-- content (B).
CREATE INDEX IF NOT EXISTS idx_documents_search ON documents USING GIN(
    (setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', content), 'B'))
);

-- dbinit: down

DROP INDEX idx_documents_search;
DROP INDEX idx_documents_metadata;
DROP INDEX idx_documents_tags;
DROP INDEX idx_users_username;
