DROP TABLE tb_outbox;
DROP TABLE tb_extensions;
DROP TABLE tb_settings;
DROP TABLE tb_refresh_tokens;
DROP TABLE tb_users;
