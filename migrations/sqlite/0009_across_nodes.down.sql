DROP TABLE tb_keys;
