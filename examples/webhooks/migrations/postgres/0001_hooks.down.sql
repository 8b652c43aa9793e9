DROP TABLE webhooks_setup;
DROP TABLE webhooks_deliveries;
DROP TABLE webhooks_hooks;
