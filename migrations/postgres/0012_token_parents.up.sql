-- An application token that another one made ends with it.

ALTER TABLE tb_application_tokens ADD COLUMN parent_id TEXT COLLATE "C" REFERENCES tb_application_tokens (id) ON DELETE CASCADE;
CREATE INDEX tb_application_tokens_parent ON tb_application_tokens (parent_id);
