DROP TRIGGER tb_users_end_one_time_tokens;
DROP TABLE tb_one_time_tokens;
CREATE TABLE tb_refresh_tokens_before (
    token_hash BLOB PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    family_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    used_at TEXT
) STRICT;
INSERT INTO tb_refresh_tokens_before
SELECT t.token_hash, s.user_id, t.session_id, t.created_at, t.expires_at, t.used_at
FROM tb_refresh_tokens t JOIN tb_sessions s ON s.id = t.session_id;
DROP TABLE tb_refresh_tokens;
ALTER TABLE tb_refresh_tokens_before RENAME TO tb_refresh_tokens;
CREATE INDEX tb_refresh_tokens_user ON tb_refresh_tokens (user_id);
CREATE INDEX tb_refresh_tokens_family ON tb_refresh_tokens (family_id);
DROP TABLE tb_sessions;
-- An access token of a session that was ended here would live on where nothing knows of sessions.
UPDATE tb_users SET token_epoch = token_epoch + 1;
