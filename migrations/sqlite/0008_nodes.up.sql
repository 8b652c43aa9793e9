-- The nodes that serve this database: one, itself. What other nodes have changed is told by SQLite itself, which counts
-- the changes to its file by other processes (data_version); so nothing is counted here as it is on PostgreSQL.

CREATE TABLE tb_nodes (
    id TEXT PRIMARY KEY NOT NULL,
    -- As the operator calls it.
    name TEXT NOT NULL,
    -- Where it listens.
    address TEXT NOT NULL,
    -- Of the program.
    version TEXT NOT NULL,
    started_at TEXT NOT NULL,
    -- When it last said that it is there.
    seen_at TEXT NOT NULL
) STRICT;
CREATE INDEX tb_nodes_seen ON tb_nodes (seen_at);
