-- Administration: application tokens, what the settings were before, and users in the orders in which they are listed.

CREATE TABLE tb_application_tokens (
    id TEXT PRIMARY KEY NOT NULL,
    -- SHA-256 of the token; the token itself is nowhere.
    token_hash BLOB NOT NULL UNIQUE,
    -- In whose name it acts.
    user_id TEXT NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT,
    -- With spaces between them.
    scopes TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- Never, where it is null.
    expires_at TEXT,
    -- To the minute, about.
    last_used_at TEXT,
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1))
) STRICT;
CREATE INDEX tb_application_tokens_user ON tb_application_tokens (user_id);
CREATE INDEX tb_application_tokens_created ON tb_application_tokens (created_at, id);

-- One row: how often the host's settings were changed, so that of two changes at once the later one sees the earlier.
CREATE TABLE tb_settings_state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
INSERT INTO tb_settings_state VALUES (1, 0, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z');

CREATE TABLE tb_settings_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    changed_at TEXT NOT NULL,
    -- As in the audit log.
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT NOT NULL,
    setting TEXT NOT NULL,
    -- The values before and after; null for a secret, which is nowhere but sealed in tb_settings.
    value_from TEXT CHECK (json_valid(value_from)),
    value_to TEXT CHECK (json_valid(value_to))
) STRICT;
CREATE INDEX tb_settings_history_setting ON tb_settings_history (setting, id);

CREATE INDEX tb_users_created ON tb_users (created_at, id);
CREATE INDEX tb_users_last_login ON tb_users (last_login_at, id);
