DROP TABLE tb_extension_reports;
CREATE UNLOGGED TABLE tb_extension_reports (
    change_id TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    step TEXT COLLATE "C" NOT NULL CHECK (step IN ('prepared', 'swapped')),
    code TEXT COLLATE "C",
    message TEXT COLLATE "C",
    PRIMARY KEY (change_id, node, step)
);
ALTER TABLE tb_extensions DROP COLUMN previous_origin;
