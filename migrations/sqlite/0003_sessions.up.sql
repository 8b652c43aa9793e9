-- Sessions: what begins with a login and ends with a logout. Refresh tokens hang on them, in the place of a family.

CREATE TABLE tb_sessions (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    -- How the user signed in: password, login_link, ….
    method TEXT NOT NULL,
    -- From where and with what; unknown for sessions that are older than this table.
    address TEXT,
    user_agent TEXT,
    created_at TEXT NOT NULL,
    last_used_at TEXT NOT NULL,
    -- When the last of its tokens ends.
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX tb_sessions_user ON tb_sessions (user_id, last_used_at);
CREATE INDEX tb_sessions_expiry ON tb_sessions (expires_at);

INSERT INTO tb_sessions (id, user_id, method, created_at, last_used_at, expires_at)
SELECT family_id, user_id, 'password', min(created_at), max(created_at), max(expires_at)
FROM tb_refresh_tokens GROUP BY family_id, user_id;

CREATE TABLE tb_refresh_tokens_next (
    -- SHA-256 of the token; the token itself is nowhere.
    token_hash BLOB PRIMARY KEY NOT NULL,
    -- A token that is used twice ends its session.
    session_id TEXT NOT NULL REFERENCES tb_sessions (id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    used_at TEXT
) STRICT;
INSERT INTO tb_refresh_tokens_next SELECT token_hash, family_id, created_at, expires_at, used_at FROM tb_refresh_tokens;
DROP TABLE tb_refresh_tokens;
ALTER TABLE tb_refresh_tokens_next RENAME TO tb_refresh_tokens;
CREATE INDEX tb_refresh_tokens_session ON tb_refresh_tokens (session_id);
CREATE INDEX tb_refresh_tokens_expiry ON tb_refresh_tokens (expires_at);

CREATE TABLE tb_one_time_tokens (
    -- SHA-256 of the token; the token itself is in a mail alone.
    token_hash BLOB PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    purpose TEXT NOT NULL CHECK (purpose IN ('password_reset', 'login_link')),
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX tb_one_time_tokens_user ON tb_one_time_tokens (user_id);
CREATE INDEX tb_one_time_tokens_expiry ON tb_one_time_tokens (expires_at);

-- A link that was mailed before the email or the password changed, or before everything was ended, opens nothing,
-- whoever made the change.
CREATE TRIGGER tb_users_end_one_time_tokens
AFTER UPDATE OF email, password_hash, token_epoch, is_active ON tb_users
WHEN OLD.email <> NEW.email OR OLD.password_hash <> NEW.password_hash OR OLD.token_epoch <> NEW.token_epoch
    OR OLD.is_active <> NEW.is_active
BEGIN
    DELETE FROM tb_one_time_tokens WHERE user_id = NEW.id;
END;
