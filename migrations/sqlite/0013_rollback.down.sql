DROP TABLE tb_extension_reports;
CREATE TABLE tb_extension_reports (
    change_id TEXT NOT NULL,
    node TEXT NOT NULL,
    step TEXT NOT NULL CHECK (step IN ('prepared', 'swapped')),
    code TEXT,
    message TEXT,
    PRIMARY KEY (change_id, node, step)
) STRICT, WITHOUT ROWID;
ALTER TABLE tb_extensions DROP COLUMN previous_origin;
