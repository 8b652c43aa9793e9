DROP TABLE tb_nodes;
