-- The lifecycle of extensions: where each came from, what it was before, and the journal of every change of them.

ALTER TABLE tb_extensions ADD COLUMN registry TEXT;
ALTER TABLE tb_extensions ADD COLUMN publisher TEXT;
ALTER TABLE tb_extensions ADD COLUMN publisher_keys TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(publisher_keys));
-- Of the packed file that it was unpacked from.
ALTER TABLE tb_extensions ADD COLUMN archive_sha256 TEXT;
-- What a rollback goes back to.
ALTER TABLE tb_extensions ADD COLUMN previous_version TEXT;
ALTER TABLE tb_extensions ADD COLUMN previous_hash TEXT;

CREATE TABLE tb_extension_changes (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('install', 'update', 'enable', 'disable', 'uninstall', 'rollback')),
    name TEXT NOT NULL,
    from_version TEXT,
    from_hash TEXT,
    to_version TEXT,
    to_hash TEXT,
    -- What else was asked for, and what the way back needs.
    details TEXT NOT NULL CHECK (json_valid(details)),
    -- Written before it is done.
    step TEXT NOT NULL,
    -- Who carries it out; null until somebody does.
    carrier TEXT,
    -- Until then nobody else may carry it on: nanoseconds since 1970.
    held_until INTEGER NOT NULL DEFAULT 0,
    who TEXT NOT NULL CHECK (json_valid(who)),
    created_at TEXT NOT NULL,
    ended_at TEXT,
    error_code TEXT,
    error_message TEXT
) STRICT;
-- One at a time.
CREATE UNIQUE INDEX tb_extension_changes_open ON tb_extension_changes ((ended_at IS NULL)) WHERE ended_at IS NULL;
CREATE INDEX tb_extension_changes_name ON tb_extension_changes (name, created_at);

-- What each node made of each extension.
CREATE TABLE tb_extension_nodes (
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'failed')),
    code TEXT,
    message TEXT,
    reported_at TEXT NOT NULL,
    PRIMARY KEY (node, name)
) STRICT, WITHOUT ROWID;

-- What each node says of a change: that it has the package, and that it has taken the change up.
CREATE TABLE tb_extension_reports (
    change_id TEXT NOT NULL,
    node TEXT NOT NULL,
    step TEXT NOT NULL CHECK (step IN ('prepared', 'swapped')),
    code TEXT,
    message TEXT,
    PRIMARY KEY (change_id, node, step)
) STRICT, WITHOUT ROWID;
