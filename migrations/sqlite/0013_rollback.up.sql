-- Going back to the version before: where that one came from, and that its nodes let go of the newer one.

-- Origin of the version that a rollback goes back to.
ALTER TABLE tb_extensions ADD COLUMN previous_origin TEXT CHECK (previous_origin IS NULL OR json_valid(previous_origin));

-- Reports are about a change under way: none of them is needed after it.
DROP TABLE tb_extension_reports;
CREATE TABLE tb_extension_reports (
    change_id TEXT NOT NULL,
    node TEXT NOT NULL,
    step TEXT NOT NULL CHECK (step IN ('prepared', 'swapped', 'drained')),
    code TEXT,
    message TEXT,
    PRIMARY KEY (change_id, node, step)
) STRICT, WITHOUT ROWID;
