-- The catalog of collections, and how many records each has.

CREATE TABLE collections_meta (
    -- Names the collection's table, collections_r_<number>.
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    schema TEXT NOT NULL CHECK (json_valid(schema)),
    options TEXT NOT NULL CHECK (json_valid(options)),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    -- Counts up with every change: a write prepared under an older one is not applied.
    revision INTEGER NOT NULL
) STRICT;

-- Kept by triggers on the collections' tables, so that a total needs no scan.
CREATE TABLE collections_counts (
    number INTEGER PRIMARY KEY REFERENCES collections_meta (number) ON DELETE CASCADE,
    count INTEGER NOT NULL
) STRICT;
