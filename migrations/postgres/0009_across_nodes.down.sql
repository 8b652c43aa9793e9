DROP TABLE tb_outbox_tellers;
DROP TABLE tb_code_tries;
DROP TABLE tb_login_levels;
DROP TABLE tb_login_tries;
DROP TABLE tb_rate_buckets;
DROP TABLE tb_keys;
