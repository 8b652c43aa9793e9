DROP TABLE tb_mfa_tickets;
