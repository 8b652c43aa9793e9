-- Sessions: what begins with a login and ends with a logout. Refresh tokens hang on them, in the place of a family.

CREATE TABLE tb_sessions (
    id TEXT COLLATE "C" PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    -- How the user signed in: password, login_link, ….
    method TEXT COLLATE "C" NOT NULL,
    -- From where and with what; unknown for sessions that are older than this table.
    address TEXT COLLATE "C",
    user_agent TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    last_used_at TEXT COLLATE "C" NOT NULL,
    -- When the last of its tokens ends.
    expires_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX tb_sessions_user ON tb_sessions (user_id, last_used_at);
CREATE INDEX tb_sessions_expiry ON tb_sessions (expires_at);

INSERT INTO tb_sessions (id, user_id, method, created_at, last_used_at, expires_at)
SELECT family_id, user_id, 'password', min(created_at), max(created_at), max(expires_at)
FROM tb_refresh_tokens GROUP BY family_id, user_id;

-- A token that is used twice ends its session.
ALTER TABLE tb_refresh_tokens DROP COLUMN user_id;
ALTER TABLE tb_refresh_tokens RENAME COLUMN family_id TO session_id;
DROP INDEX tb_refresh_tokens_family;
CREATE INDEX tb_refresh_tokens_session ON tb_refresh_tokens (session_id);
CREATE INDEX tb_refresh_tokens_expiry ON tb_refresh_tokens (expires_at);
ALTER TABLE tb_refresh_tokens ADD FOREIGN KEY (session_id) REFERENCES tb_sessions (id) ON DELETE CASCADE;

CREATE TABLE tb_one_time_tokens (
    -- SHA-256 of the token; the token itself is in a mail alone.
    token_hash BYTEA PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    purpose TEXT COLLATE "C" NOT NULL CHECK (purpose IN ('password_reset', 'login_link')),
    created_at TEXT COLLATE "C" NOT NULL,
    expires_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX tb_one_time_tokens_user ON tb_one_time_tokens (user_id);
CREATE INDEX tb_one_time_tokens_expiry ON tb_one_time_tokens (expires_at);

-- A link that was mailed before the email or the password changed, or before everything was ended, opens nothing,
-- whoever made the change.
CREATE FUNCTION tb_end_one_time_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tb_one_time_tokens WHERE user_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER tb_users_end_one_time_tokens
AFTER UPDATE OF email, password_hash, token_epoch, is_active ON tb_users FOR EACH ROW
WHEN (OLD.email <> NEW.email OR OLD.password_hash <> NEW.password_hash OR OLD.token_epoch <> NEW.token_epoch
    OR OLD.is_active <> NEW.is_active)
EXECUTE FUNCTION tb_end_one_time_tokens();
