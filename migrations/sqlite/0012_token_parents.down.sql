DROP INDEX tb_application_tokens_parent;
ALTER TABLE tb_application_tokens DROP COLUMN parent_id;
