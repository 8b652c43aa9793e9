-- Second factors: the secret of a user's authenticator app, and the codes that stand in for a lost one.

CREATE TABLE tb_second_factors (
    user_id TEXT COLLATE "C" PRIMARY KEY REFERENCES tb_users (id) ON DELETE CASCADE,
    -- Sealed under the host's key of secrets.
    secret TEXT COLLATE "C" NOT NULL,
    -- When a code showed that the app has the secret; until then, nothing asks for it.
    confirmed_at TEXT COLLATE "C",
    -- The time step of the last code that was taken: none is taken twice.
    last_step BIGINT NOT NULL DEFAULT 0,
    created_at TEXT COLLATE "C" NOT NULL
);

CREATE TABLE tb_recovery_codes (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES tb_users (id) ON DELETE CASCADE,
    -- SHA-256 of user and code; the code itself is nowhere. A used one is deleted.
    code_hash BYTEA NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);
