DROP TABLE tb_recovery_codes;
DROP TABLE tb_second_factors;
