CREATE TABLE {{name}}_visits (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    visited_at TEXT NOT NULL
);
