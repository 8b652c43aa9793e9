-- Accounts, settings, what is installed, and events that are still to be delivered.

CREATE TABLE tb_users (
    id TEXT PRIMARY KEY NOT NULL,
    -- Normalised to lower case before it is stored; the collation guards against a path that forgot.
    email TEXT NOT NULL COLLATE NOCASE UNIQUE,
    password_hash TEXT NOT NULL,
    is_admin INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),
    -- Counts up at logout and on a change of the password: older access tokens are void.
    token_epoch INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE tb_refresh_tokens (
    -- SHA-256 of the token; the token itself is nowhere.
    token_hash BLOB PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    -- All tokens that came of one login: a token used twice voids its family.
    family_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    used_at TEXT
) STRICT;
CREATE INDEX tb_refresh_tokens_user ON tb_refresh_tokens (user_id);
CREATE INDEX tb_refresh_tokens_family ON tb_refresh_tokens (family_id);

CREATE TABLE tb_settings (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL CHECK (json_valid(value)),
    updated_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tb_extensions (
    name TEXT PRIMARY KEY NOT NULL,
    version TEXT NOT NULL,
    hash TEXT NOT NULL,
    is_enabled INTEGER NOT NULL DEFAULT 0 CHECK (is_enabled IN (0, 1)),
    is_builtin INTEGER NOT NULL DEFAULT 0 CHECK (is_builtin IN (0, 1)),
    manifest TEXT NOT NULL CHECK (json_valid(manifest)),
    -- Why it is not loaded although it is enabled: it took the host down.
    quarantined_reason TEXT,
    -- The hash of the library that a probe process has opened without harm.
    probed_hash TEXT,
    installed_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE tb_outbox (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload BLOB NOT NULL,
    subscriber TEXT NOT NULL,
    created_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT NOT NULL,
    last_error TEXT
) STRICT;
CREATE INDEX tb_outbox_due ON tb_outbox (subscriber, next_attempt_at);
