-- Whose hook it is: it is told of what this user may read. One of an earlier version has none, and is told of what anybody may read.
ALTER TABLE webhooks_hooks ADD COLUMN owner_id TEXT;
-- The scopes of the application tokens by which it was made or changed; null where that was the user.
ALTER TABLE webhooks_hooks ADD COLUMN owner_scopes TEXT;
-- What the payload leaves out and the owner's rights are judged by; a JSON object, null for a test.
ALTER TABLE webhooks_deliveries ADD COLUMN judged TEXT;
