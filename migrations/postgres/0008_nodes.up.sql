-- The nodes that serve this database, and a number that counts what nodes keep in memory and another node has changed.

CREATE TABLE tb_nodes (
    id TEXT COLLATE "C" PRIMARY KEY,
    -- As the operator calls it.
    name TEXT COLLATE "C" NOT NULL,
    -- Where it listens.
    address TEXT COLLATE "C" NOT NULL,
    -- Of the program.
    version TEXT COLLATE "C" NOT NULL,
    started_at TEXT COLLATE "C" NOT NULL,
    -- When it last said that it is there.
    seen_at TEXT COLLATE "C" NOT NULL
);
CREATE INDEX tb_nodes_seen ON tb_nodes (seen_at);

-- One row. The number says that something has changed, and a notification says so sooner.
CREATE TABLE tb_changes (
    "only" BIGINT PRIMARY KEY CHECK ("only" = 1),
    version BIGINT NOT NULL
);
INSERT INTO tb_changes VALUES (1, 0);

-- Counts once a transaction, however many rows it changed.
CREATE FUNCTION tb_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this TEXT := pg_current_xact_id()::text;
BEGIN
    IF current_setting('tinybase.noted_in', true) IS DISTINCT FROM this THEN
        UPDATE tb_changes SET version = version + 1;
        PERFORM pg_notify('tb_changes', '');
        PERFORM set_config('tinybase.noted_in', this, true);
    END IF;
    RETURN NULL;
END
$$;

-- All of them wait for the end of the transaction: the one row that they count up is held while it commits and no longer,
-- so that a long transaction keeps nobody from signing out, and no two wait for each other.
-- What is not asked for here is not kept in memory: sign-ins, the use of a token, new users and sessions.
CREATE CONSTRAINT TRIGGER tb_users_changed AFTER UPDATE ON tb_users
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN ((OLD.email, OLD.password_hash, OLD.role, OLD.is_active, OLD.token_epoch)
    IS DISTINCT FROM (NEW.email, NEW.password_hash, NEW.role, NEW.is_active, NEW.token_epoch))
EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_users_deleted AFTER DELETE ON tb_users
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_sessions_deleted AFTER DELETE ON tb_sessions
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_application_tokens_changed AFTER UPDATE ON tb_application_tokens
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN ((OLD.token_hash, OLD.user_id, OLD.name, OLD.scopes, OLD.expires_at, OLD.is_active)
    IS DISTINCT FROM (NEW.token_hash, NEW.user_id, NEW.name, NEW.scopes, NEW.expires_at, NEW.is_active))
EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_application_tokens_deleted AFTER DELETE ON tb_application_tokens
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_settings_changed AFTER INSERT OR UPDATE OR DELETE ON tb_settings
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();
CREATE CONSTRAINT TRIGGER tb_extensions_changed AFTER INSERT OR UPDATE OR DELETE ON tb_extensions
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();
