-- Tickets of sign-ins that wait for the second factor, once somebody has tried one: so that a ticket is used once and stands
-- so many wrong codes, whichever node is asked. Unlike guesses they are logged: a crash makes no used ticket good again.

CREATE TABLE tb_mfa_tickets (
    id TEXT COLLATE "C" PRIMARY KEY,
    tries BIGINT NOT NULL,
    used BOOLEAN NOT NULL DEFAULT false,
    -- In seconds since 1970.
    expires_at BIGINT NOT NULL
);
CREATE INDEX tb_mfa_tickets_expires ON tb_mfa_tickets (expires_at);
