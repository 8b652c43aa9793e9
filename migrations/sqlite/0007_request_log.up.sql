-- Requests that were answered, without query, headers and bodies. Rows are added in batches and deleted once they are too
-- old or too many.

CREATE TABLE tb_request_log (
    id INTEGER PRIMARY KEY,
    -- When the request came.
    at TEXT NOT NULL,
    method TEXT NOT NULL,
    -- The pattern of the route that took it; null where none did.
    route TEXT,
    -- As it was sent, without the query.
    path TEXT NOT NULL,
    status INTEGER NOT NULL,
    -- From the request's head to its answer's head.
    duration_us INTEGER NOT NULL,
    user_id TEXT,
    -- The application token's id.
    token_id TEXT,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- Bytes of the answer's body that were sent.
    bytes_out INTEGER NOT NULL
) STRICT;
-- Holds what is filtered by most, so that a walk through time reads no row that is left out.
CREATE INDEX tb_request_log_at ON tb_request_log (at, id, status, duration_us);
CREATE INDEX tb_request_log_user ON tb_request_log (user_id, at, id) WHERE user_id IS NOT NULL;
CREATE INDEX tb_request_log_request ON tb_request_log (request_id, at, id);
