DROP TABLE tb_extension_reports;
DROP TABLE tb_extension_nodes;
DROP TABLE tb_extension_changes;
ALTER TABLE tb_extensions DROP COLUMN registry;
ALTER TABLE tb_extensions DROP COLUMN publisher;
ALTER TABLE tb_extensions DROP COLUMN publisher_keys;
ALTER TABLE tb_extensions DROP COLUMN archive_sha256;
ALTER TABLE tb_extensions DROP COLUMN previous_version;
ALTER TABLE tb_extensions DROP COLUMN previous_hash;
