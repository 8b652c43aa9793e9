-- Who is told of what. The secret is nowhere: it is derived from the sealed setting signing_key, the hook's id and its version.
CREATE TABLE webhooks_hooks (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    -- A JSON array of names; null is all of them.
    collections TEXT,
    -- A JSON array of create, update and delete.
    events TEXT NOT NULL,
    -- A JSON object of further headers.
    headers TEXT NOT NULL,
    include_record INTEGER NOT NULL,
    is_active INTEGER NOT NULL,
    inactive_reason TEXT,
    secret_version INTEGER NOT NULL,
    -- Until when the secret of the version before signs as well.
    previous_secret_until TEXT,
    -- Failed tries in a row.
    failures INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

-- What each hook is told. A pending one is due at next_attempt_at; whoever takes it moves that time behind the longest
-- time that a try may last, so that nobody else takes it meanwhile, and somebody does if its taker is gone.
CREATE TABLE webhooks_deliveries (
    id TEXT PRIMARY KEY,
    hook_id TEXT NOT NULL REFERENCES webhooks_hooks (id) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload TEXT NOT NULL,
    -- pending, delivered or dead.
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at TEXT NOT NULL,
    last_attempt_at TEXT,
    response_status INTEGER,
    error TEXT,
    created_at TEXT NOT NULL,
    finished_at TEXT,
    UNIQUE (hook_id, event_id)
);
CREATE INDEX webhooks_deliveries_due ON webhooks_deliveries (hook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhooks_deliveries_by_hook ON webhooks_deliveries (hook_id, id);
CREATE INDEX webhooks_deliveries_finished ON webhooks_deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- Which node makes the signing key: the one that writes the only row.
CREATE TABLE webhooks_setup (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    taken_at TEXT NOT NULL
);
