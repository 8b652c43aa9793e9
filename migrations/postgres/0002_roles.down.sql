DROP INDEX tb_users_role;
ALTER TABLE tb_users ADD COLUMN is_admin BIGINT NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1));
UPDATE tb_users SET is_admin = 1 WHERE role = 'admin';
-- Whoever was locked out stays out: without this column nothing else would keep them.
UPDATE tb_users SET password_hash = '', token_epoch = token_epoch + 1 WHERE is_active = 0;
DELETE FROM tb_refresh_tokens WHERE user_id IN (SELECT id FROM tb_users WHERE is_active = 0);
ALTER TABLE tb_users DROP COLUMN last_login_at;
ALTER TABLE tb_users DROP COLUMN is_active;
ALTER TABLE tb_users DROP COLUMN role;
