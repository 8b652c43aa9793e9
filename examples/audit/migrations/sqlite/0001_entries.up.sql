-- What happened, newest last.
CREATE TABLE audit_entries (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    object_id TEXT,
    user_id TEXT,
    email TEXT,
    request_id TEXT
);
CREATE INDEX audit_entries_at ON audit_entries (at);

-- How often each collection was changed; written in the transaction of the change itself.
CREATE TABLE audit_changes (
    collection TEXT PRIMARY KEY,
    changes INTEGER NOT NULL
) WITHOUT ROWID;
