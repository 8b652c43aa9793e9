-- The ids of the application tokens by which it was made or changed, as a JSON array: it ends with any of them. Null where that was the
-- user. Hooks of before that have scopes do not say by which token: they are stopped until their owner changes them.
ALTER TABLE webhooks_hooks ADD COLUMN owner_token_ids TEXT COLLATE "C";
