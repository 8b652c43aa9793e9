DROP TRIGGER tb_users_end_one_time_tokens ON tb_users;
DROP FUNCTION tb_end_one_time_tokens();
DROP TABLE tb_one_time_tokens;
ALTER TABLE tb_refresh_tokens ADD COLUMN user_id TEXT COLLATE "C" REFERENCES tb_users (id) ON DELETE CASCADE;
UPDATE tb_refresh_tokens t SET user_id = s.user_id FROM tb_sessions s WHERE s.id = t.session_id;
ALTER TABLE tb_refresh_tokens ALTER COLUMN user_id SET NOT NULL;
ALTER TABLE tb_refresh_tokens DROP CONSTRAINT tb_refresh_tokens_session_id_fkey;
ALTER TABLE tb_refresh_tokens RENAME COLUMN session_id TO family_id;
DROP INDEX tb_refresh_tokens_expiry;
DROP INDEX tb_refresh_tokens_session;
CREATE INDEX tb_refresh_tokens_user ON tb_refresh_tokens (user_id);
CREATE INDEX tb_refresh_tokens_family ON tb_refresh_tokens (family_id);
DROP TABLE tb_sessions;
-- An access token of a session that was ended here would live on where nothing knows of sessions.
UPDATE tb_users SET token_epoch = token_epoch + 1;
