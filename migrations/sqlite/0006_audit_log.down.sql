DROP TRIGGER tb_audit_floor_stays;
DROP TRIGGER tb_audit_floor_forward;
DROP TRIGGER tb_audit_floor_once;
DROP TRIGGER tb_audit_log_no_replace;
DROP TRIGGER tb_audit_log_no_delete;
DROP TRIGGER tb_audit_log_no_update;
DROP TABLE tb_audit_floor;
DROP TABLE tb_audit_log;
