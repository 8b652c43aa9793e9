-- Who did what to which thing, when, from where. Rows are only ever added: nothing changes one, and one is deleted only
-- once it is older than the retention that tb_audit_floor holds.

CREATE TABLE tb_audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    actor_kind TEXT NOT NULL CHECK (actor_kind IN ('user', 'token', 'command', 'extension', 'system', 'nobody')),
    -- The user's or the application token's id.
    actor_id TEXT,
    -- The email, the token's name, the extension's name.
    actor_name TEXT NOT NULL,
    address TEXT,
    request_id TEXT,
    action TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    change TEXT NOT NULL CHECK (json_valid(change))
) STRICT;
-- Holds what is filtered by, so that a walk through time reads no row that is left out.
CREATE INDEX tb_audit_log_at ON tb_audit_log (at, id, action, target_kind, target_id);
CREATE INDEX tb_audit_log_action ON tb_audit_log (action, at, id);
CREATE INDEX tb_audit_log_target ON tb_audit_log (target_kind, target_id, at, id);
CREATE INDEX tb_audit_log_actor ON tb_audit_log (actor_id, at, id);

-- One row: entries older than keep_from may be deleted. It only moves forward, and never closer than a day to now.
CREATE TABLE tb_audit_floor (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    keep_from TEXT NOT NULL
) STRICT;
INSERT INTO tb_audit_floor VALUES (1, '');

CREATE TRIGGER tb_audit_log_no_update BEFORE UPDATE ON tb_audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER tb_audit_log_no_delete BEFORE DELETE ON tb_audit_log
WHEN OLD.at >= (SELECT keep_from FROM tb_audit_floor) BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- INSERT OR REPLACE deletes the row in its way without asking the trigger before a delete.
CREATE TRIGGER tb_audit_log_no_replace BEFORE INSERT ON tb_audit_log
WHEN EXISTS (SELECT 1 FROM tb_audit_log WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER tb_audit_floor_once BEFORE INSERT ON tb_audit_floor BEGIN
    SELECT RAISE(ABORT, 'the retention of the audit log only moves forward');
END;
CREATE TRIGGER tb_audit_floor_forward BEFORE UPDATE ON tb_audit_floor
WHEN NEW.keep_from < OLD.keep_from OR NEW.keep_from > strftime('%Y-%m-%dT%H:%M:%f999Z', 'now', '-1 day') BEGIN
    SELECT RAISE(ABORT, 'the retention of the audit log only moves forward, and keeps at least a day');
END;
CREATE TRIGGER tb_audit_floor_stays BEFORE DELETE ON tb_audit_floor BEGIN
    SELECT RAISE(ABORT, 'the retention of the audit log only moves forward');
END;
