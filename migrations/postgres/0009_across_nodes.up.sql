-- What several nodes must agree on: the keys that they serve with, how often somebody has asked or guessed, and which of
-- them tells a listener its events.

CREATE TABLE tb_keys (
    name TEXT COLLATE "C" PRIMARY KEY CHECK (name IN ('signing', 'sealing')),
    -- Tells one key from another, and nothing of the key.
    fingerprint TEXT COLLATE "C" NOT NULL,
    noted_at TEXT COLLATE "C" NOT NULL
);

-- Times of the following tables are nanoseconds since 1970 by the clock of the database, which all nodes share. What they
-- hold is short-lived and written often: so they are not logged, and a crash of the database empties them, as a restart
-- empties the memory of a node that is alone.

-- Buckets of rate limits. Their rows change in place, without an index of times: those that are swept are found by a scan.
CREATE UNLOGGED TABLE tb_rate_buckets (
    -- A hash of the rule and of who is counted.
    key BYTEA PRIMARY KEY,
    -- When the bucket is full again.
    full_at BIGINT NOT NULL,
    -- How many tokens the last who asked was given.
    granted BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Wrong passwords by account and network.
CREATE UNLOGGED TABLE tb_login_tries (
    -- A hash of the email and the network.
    key BYTEA PRIMARY KEY,
    failures BIGINT NOT NULL,
    -- Until when nothing is tried.
    free_at BIGINT NOT NULL,
    -- After this, they are forgotten.
    forgotten_at BIGINT NOT NULL
);
CREATE INDEX tb_login_tries_forgotten ON tb_login_tries (forgotten_at);

-- Wrong passwords by account, over all networks. They drain away with time.
CREATE UNLOGGED TABLE tb_login_levels (
    -- A hash of the email.
    key BYTEA PRIMARY KEY,
    failures DOUBLE PRECISION NOT NULL,
    -- When there were so many.
    counted_at BIGINT NOT NULL
);
CREATE INDEX tb_login_levels_counted ON tb_login_levels (counted_at);

-- Wrong codes of second factors by user, and wrong passwords of those who are asked for it again.
CREATE UNLOGGED TABLE tb_code_tries (
    kind TEXT COLLATE "C" CHECK (kind IN ('code', 'password')),
    user_id TEXT COLLATE "C",
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (kind, user_id)
);
CREATE INDEX tb_code_tries_last ON tb_code_tries (last_at);

-- Which node tells a listener of events: one at a time, so that nothing is told twice at once or out of order.
CREATE UNLOGGED TABLE tb_outbox_tellers (
    subscriber TEXT COLLATE "C" PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    -- After this, or once the node is gone, another may.
    held_until BIGINT NOT NULL
);
