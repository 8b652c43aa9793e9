ALTER TABLE webhooks_hooks DROP COLUMN owner_token_ids;
