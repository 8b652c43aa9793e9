-- Who is told of what. The secret is nowhere: it is derived from the sealed setting signing_key, the hook's id and its version.
CREATE TABLE webhooks_hooks (
    id TEXT COLLATE "C" PRIMARY KEY,
    url TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    -- A JSON array of names; null is all of them.
    collections TEXT COLLATE "C",
    -- A JSON array of create, update and delete.
    events TEXT COLLATE "C" NOT NULL,
    -- A JSON object of further headers.
    headers TEXT COLLATE "C" NOT NULL,
    include_record BIGINT NOT NULL,
    is_active BIGINT NOT NULL,
    inactive_reason TEXT COLLATE "C",
    secret_version BIGINT NOT NULL,
    -- Until when the secret of the version before signs as well.
    previous_secret_until TEXT COLLATE "C",
    -- Failed tries in a row.
    failures BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL
);

-- What each hook is told. A pending one is due at next_attempt_at; whoever takes it moves that time behind the longest
-- time that a try may last, so that nobody else takes it meanwhile, and somebody does if its taker is gone.
CREATE TABLE webhooks_deliveries (
    id TEXT COLLATE "C" PRIMARY KEY,
    hook_id TEXT COLLATE "C" NOT NULL REFERENCES webhooks_hooks (id) ON DELETE CASCADE,
    event_id TEXT COLLATE "C" NOT NULL,
    event_type TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    -- pending, delivered or dead.
    state TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    next_attempt_at TEXT COLLATE "C" NOT NULL,
    last_attempt_at TEXT COLLATE "C",
    response_status BIGINT,
    error TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    finished_at TEXT COLLATE "C",
    UNIQUE (hook_id, event_id)
);
CREATE INDEX webhooks_deliveries_due ON webhooks_deliveries (hook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhooks_deliveries_by_hook ON webhooks_deliveries (hook_id, id);
CREATE INDEX webhooks_deliveries_finished ON webhooks_deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Which node makes the signing key: the one that writes the only row.
CREATE TABLE webhooks_setup (
    slot BIGINT PRIMARY KEY CHECK (slot = 1),
    taken_at TEXT COLLATE "C" NOT NULL
);
