DROP TABLE tb_request_log;
