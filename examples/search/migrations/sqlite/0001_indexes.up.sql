-- A build of the index over a collection: the one that is searched, the one that is being made, and those that ended and
-- are being cleared away. The words of a build are in a table of its own, search_w_<number>.
CREATE TABLE search_builds (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    collection_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    fields TEXT NOT NULL CHECK (json_valid(fields)),
    language TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'ready', 'ended')),
    indexed INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    position TEXT,
    problem TEXT,
    holder TEXT,
    held_until INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE UNIQUE INDEX search_builds_one ON search_builds (collection, state) WHERE state <> 'ended';

-- Which version of which record is in a build. One that was deleted stays for a while, so that what is told late of it
-- does not bring it back.
CREATE TABLE search_docs (
    doc INTEGER PRIMARY KEY AUTOINCREMENT,
    number INTEGER NOT NULL REFERENCES search_builds (number),
    record_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    gone_at INTEGER,
    UNIQUE (number, record_id)
);
CREATE INDEX search_docs_gone ON search_docs (gone_at) WHERE gone_at IS NOT NULL;
