-- The lifecycle of extensions: where each came from, what it was before, the journal of every change of them, and the
-- packages themselves, so that a node gets what was installed on another.

ALTER TABLE tb_extensions ADD COLUMN registry TEXT COLLATE "C";
ALTER TABLE tb_extensions ADD COLUMN publisher TEXT COLLATE "C";
ALTER TABLE tb_extensions ADD COLUMN publisher_keys TEXT COLLATE "C" NOT NULL DEFAULT '[]' CHECK (publisher_keys::json IS NOT NULL);
-- Of the packed file that it was unpacked from.
ALTER TABLE tb_extensions ADD COLUMN archive_sha256 TEXT COLLATE "C";
-- What a rollback goes back to.
ALTER TABLE tb_extensions ADD COLUMN previous_version TEXT COLLATE "C";
ALTER TABLE tb_extensions ADD COLUMN previous_hash TEXT COLLATE "C";

CREATE TABLE tb_extension_changes (
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('install', 'update', 'enable', 'disable', 'uninstall', 'rollback')),
    name TEXT COLLATE "C" NOT NULL,
    from_version TEXT COLLATE "C",
    from_hash TEXT COLLATE "C",
    to_version TEXT COLLATE "C",
    to_hash TEXT COLLATE "C",
    -- What else was asked for, and what the way back needs.
    details TEXT COLLATE "C" NOT NULL CHECK (details::json IS NOT NULL),
    -- Written before it is done.
    step TEXT COLLATE "C" NOT NULL,
    -- Who carries it out; null until somebody does.
    carrier TEXT COLLATE "C",
    -- Until then nobody else may carry it on: nanoseconds since 1970 by this clock.
    held_until BIGINT NOT NULL DEFAULT 0,
    who TEXT COLLATE "C" NOT NULL CHECK (who::json IS NOT NULL),
    created_at TEXT COLLATE "C" NOT NULL,
    ended_at TEXT COLLATE "C",
    error_code TEXT COLLATE "C",
    error_message TEXT COLLATE "C"
);
-- One at a time.
CREATE UNIQUE INDEX tb_extension_changes_open ON tb_extension_changes ((ended_at IS NULL)) WHERE ended_at IS NULL;
CREATE INDEX tb_extension_changes_name ON tb_extension_changes (name, created_at);

-- Tells the nodes of a change that they have a part in.
CREATE CONSTRAINT TRIGGER tb_extension_changes_begun AFTER INSERT ON tb_extension_changes
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_extension_changes_stepped AFTER UPDATE ON tb_extension_changes
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN ((OLD.step, OLD.carrier, OLD.ended_at) IS DISTINCT FROM (NEW.step, NEW.carrier, NEW.ended_at))
EXECUTE FUNCTION tb_note_change();

-- The files of a package, by the package's hash, in parts.
CREATE TABLE tb_extension_archives (
    hash TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    part BIGINT NOT NULL,
    -- The extension.
    name TEXT COLLATE "C" NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (hash, path, part)
);
CREATE INDEX tb_extension_archives_name ON tb_extension_archives (name);
ALTER TABLE tb_extension_archives ALTER COLUMN content SET STORAGE EXTERNAL;

-- What each node made of each extension.
CREATE UNLOGGED TABLE tb_extension_nodes (
    node TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('running', 'failed')),
    code TEXT COLLATE "C",
    message TEXT COLLATE "C",
    reported_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (node, name)
);

-- What each node says of a change: that it has the package, and that it has taken the change up.
CREATE UNLOGGED TABLE tb_extension_reports (
    change_id TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    step TEXT COLLATE "C" NOT NULL CHECK (step IN ('prepared', 'swapped')),
    code TEXT COLLATE "C",
    message TEXT COLLATE "C",
    PRIMARY KEY (change_id, node, step)
);
