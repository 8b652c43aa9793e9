CREATE TABLE notes_notes (
    id INTEGER PRIMARY KEY,
    owner_id TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX notes_notes_owner ON notes_notes (owner_id, id);
