-- Roles in the place of the one flag, and users who are locked out without being deleted.

ALTER TABLE tb_users
    ADD COLUMN role TEXT COLLATE "C" NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'viewer', 'editor', 'admin')),
    ADD COLUMN is_active BIGINT NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    ADD COLUMN last_login_at TEXT COLLATE "C";
UPDATE tb_users SET role = 'admin' WHERE is_admin = 1;
ALTER TABLE tb_users DROP COLUMN is_admin;
CREATE INDEX tb_users_role ON tb_users (role);
