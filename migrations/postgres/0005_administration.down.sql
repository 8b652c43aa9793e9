DROP INDEX tb_users_last_login;
DROP INDEX tb_users_created;
DROP TABLE tb_settings_history;
DROP TABLE tb_settings_state;
DROP TABLE tb_application_tokens;
