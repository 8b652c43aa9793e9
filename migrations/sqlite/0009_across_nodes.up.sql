-- Which keys this database is served with, so that no process serves it with others. What else nodes share is on
-- PostgreSQL alone: this file is served by one.

CREATE TABLE tb_keys (
    name TEXT PRIMARY KEY NOT NULL CHECK (name IN ('signing', 'sealing')),
    -- Tells one key from another, and nothing of the key.
    fingerprint TEXT NOT NULL,
    noted_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
