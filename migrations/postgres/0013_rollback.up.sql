-- Going back to the version before: where that one came from, and that its nodes let go of the newer one.

-- Origin of the version that a rollback goes back to.
ALTER TABLE tb_extensions ADD COLUMN previous_origin TEXT COLLATE "C" CHECK (previous_origin IS NULL OR previous_origin::json IS NOT NULL);

-- Reports are about a change under way: none of them is needed after it.
DROP TABLE tb_extension_reports;
CREATE UNLOGGED TABLE tb_extension_reports (
    change_id TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    step TEXT COLLATE "C" NOT NULL CHECK (step IN ('prepared', 'swapped', 'drained')),
    code TEXT COLLATE "C",
    message TEXT COLLATE "C",
    PRIMARY KEY (change_id, node, step)
);
