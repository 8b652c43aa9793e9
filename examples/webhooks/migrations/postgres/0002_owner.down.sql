ALTER TABLE webhooks_deliveries DROP COLUMN judged;
ALTER TABLE webhooks_hooks DROP COLUMN owner_scopes;
ALTER TABLE webhooks_hooks DROP COLUMN owner_id;
