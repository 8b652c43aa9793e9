//! Audit: records who changed what, and rejects records that contain a forbidden word. An example of routes, hooks,
//! listeners, settings, migrations, a job and a command in one extension.
#![forbid(unsafe_code)]

mod entries;
mod rules;

use std::time::Duration;

use serde::Deserialize;
use tinybase_plugin_api::{database::Engine, prelude::*};

/// How often old entries are deleted.
const CLEAN_EVERY: Duration = Duration::from_hours(1);

/// Record events; the subject is the collection's name.
const RECORD_TOPICS: [&str; 3] = ["record.create", "record.update", "record.delete"];
/// Account events; the subject is the user's id.
const USER_TOPICS: [&str; 3] = ["user.create", "user.login", "user.logout"];

/// The extension.
pub struct Audit {
    host: Host,
    database: Database,
}

/// The settings, as `extension.toml` describes them.
#[derive(Deserialize)]
struct Settings {
    forbidden_words: Vec<String>,
    retention_days: u32,
}

#[tinybase_plugin_api::export]
impl Plugin for Audit {
    fn create(host: Host) -> Result<Audit> {
        let database = host.database()?;
        Ok(Audit { host, database })
    }

    fn register(registry: &mut Registry<Audit>) {
        registry
            .get("/api/audit/entries", Audit::list)
            .auth(Auth::Admin)
            .summary("What happened, newest first");
        registry.get("/api/audit/changes", Audit::changes).auth(Auth::Admin).summary("Changes a collection");
        registry.get("/api/audit/settings", Audit::settings).auth(Auth::Admin).summary("The settings");
        registry
            .patch("/api/audit/settings", Audit::change_settings)
            .auth(Auth::Admin)
            .summary("Change settings");
        for topic in RECORD_TOPICS {
            registry.before(topic, None, 0, Audit::before_record);
            registry.after(topic, None, Audit::write_down);
        }
        for topic in USER_TOPICS {
            registry.after(topic, None, Audit::write_down);
        }
        registry.every(CLEAN_EVERY, "clean", Audit::clean);
        registry.command("export", Audit::export);
    }
}

impl Audit {
    /// Rejects forbidden words, and counts the change in the change's own transaction: if the change is rolled
    /// back, so is the count.
    async fn before_record(self: Arc<Self>, event: Event) -> Result<HookOutcome> {
        let settings: Settings = self.host.settings().await?;
        if event.topic != "record.delete" {
            rules::check_words(&event.payload["record"], &settings.forbidden_words)?;
        }
        let sql = "INSERT INTO audit_changes (collection, changes) VALUES (?1, 1) \
                   ON CONFLICT (collection) DO UPDATE SET changes = audit_changes.changes + 1";
        let mut count = Batch::default();
        count.push(sql, params![event.subject]);
        Ok(HookOutcome::accept().with_statements(count))
    }

    async fn settings(self: Arc<Self>, _request: Request) -> Result<Response> {
        Response::json(&self.host.settings::<Json>().await?)
    }

    /// The host validates the settings against the schema in the manifest and rejects invalid ones.
    async fn change_settings(self: Arc<Self>, request: Request) -> Result<Response> {
        self.host.update_settings(&request.json()?).await?;
        self.settings(request).await
    }

    async fn clean(self: Arc<Self>) -> Result<()> {
        let settings: Settings = self.host.settings().await?;
        let sql = match self.database.engine() {
            Engine::Sqlite => "DELETE FROM audit_entries WHERE at < strftime('%Y-%m-%dT%H:%M:%f', ?1, ?2)",
            Engine::Postgres => {
                "DELETE FROM audit_entries WHERE at < to_char( \
                     (?1::text::timestamptz + ?2::text::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS')"
            }
        };
        let age = format!("-{} days", settings.retention_days);
        let deleted = self.database.execute(sql, params![Value::Now, age]).await?;
        if deleted > 0 {
            tinybase_plugin_api::log::info(format!("deleted {deleted} old entries"));
        }
        Ok(())
    }
}
