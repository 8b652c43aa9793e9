DROP TABLE tb_audit_floor;
DROP TABLE tb_audit_log;
DROP FUNCTION tb_audit_keep();
DROP FUNCTION tb_audit_refuse();
