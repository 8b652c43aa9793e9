//! Settings that change at run time: rows of `tb_settings`, cached as one snapshot. It never contains what the
//! configuration file decides.

mod change;
mod fields;
mod rules;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use crate::{
    db::DbError,
    secrets::Vault,
    sql::{HostSql, text},
};

pub use change::{ChangedBy, HISTORY_ROWS_MAX, HistoryAnswer, HistoryEntry, Shown};
pub use fields::{FIELDS, Field, Form, METRICS_INTERVAL};
pub(crate) use rules::is_color;

/// The key of the instance's name.
pub const INSTANCE_NAME: &str = "instance_name";

/// The key of the setting that allows anyone to create an account.
pub const ALLOW_PUBLIC_REGISTRATION: &str = "allow_public_registration";

const SELECT: &str = "SELECT key, value FROM tb_settings";
const UPSERT: &str = "INSERT INTO tb_settings (key, value, updated_at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
const DELETE: &str = "DELETE FROM tb_settings WHERE key = ?1";

/// All settings at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    values: BTreeMap<String, Value>,
    external_change_count: u64,
    version: u64,
}

impl Snapshot {
    /// Returns the stored value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Returns the value of a setting of the host, or its default if none is stored.
    pub fn value(&self, name: &str) -> Value {
        let default = || Field::named(name).map_or(Value::Null, Field::default);
        self.get(name).cloned().unwrap_or_else(default)
    }

    /// Returns the name of this instance.
    pub fn instance_name(&self) -> String {
        self.get(INSTANCE_NAME).and_then(Value::as_str).unwrap_or("TinyBase").to_owned()
    }

    /// Whether anyone may create an account.
    pub fn allow_public_registration(&self) -> bool {
        self.get(ALLOW_PUBLIC_REGISTRATION).and_then(Value::as_bool).unwrap_or(true)
    }

    /// Returns the settings of an extension, by their names within it.
    pub fn extension(&self, name: &str) -> Map<String, Value> {
        let prefix = extension_prefix(name);
        let own = self.values.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        own.map(|(key, value)| (key[prefix.len()..].to_owned(), value.clone())).collect()
    }
}

fn extension_prefix(name: &str) -> String {
    format!("ext.{name}.")
}

/// Adds a value to a batch; `None` restores the default.
fn push_value(batch: &mut BatchWriter, key: &str, value: Option<&Value>) {
    match value {
        Some(value) => {
            let value = value.to_string();
            let params = [ValueRef::Text(key), ValueRef::Text(&value), ValueRef::Now];
            batch.push(UPSERT, params, Expect::Any);
        }
        None => batch.push(DELETE, [ValueRef::Text(key)], Expect::Any),
    }
}

/// The settings, cached in memory and written through to the database.
pub struct Settings {
    sql: HostSql,
    vault: Arc<Vault>,
    snapshot: ArcSwapOption<Snapshot>,
    version: AtomicU64,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Settings({:?})", self.sql)
    }
}

impl Settings {
    /// Creates the settings over the host's database, with secrets sealed by `vault`; the first use reads them.
    pub fn new(sql: HostSql, vault: Arc<Vault>) -> Settings {
        Settings { sql, vault, snapshot: ArcSwapOption::empty(), version: AtomicU64::new(0) }
    }

    /// Returns the vault that seals secrets before they are stored.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Returns the current settings, also after a change by another process. Reads the database only if they changed.
    pub async fn current(&self) -> Result<Arc<Snapshot>, DbError> {
        // Both numbers are taken before the read: a change during it makes the next call read again.
        let external_change_count = self.sql.database().external_change_count();
        let version = self.version.load(Ordering::Acquire);
        if let Some(snapshot) = self.snapshot.load_full()
            && snapshot.external_change_count == external_change_count
            && snapshot.version == version
        {
            return Ok(snapshot);
        }
        let rows = self.sql.rows(SELECT, &[]).await?;
        let read = |row: Vec<_>| {
            let value = serde_json::from_str(&text(&row, 1)).unwrap_or(Value::Null);
            (text(&row, 0), value)
        };
        let values = rows.into_iter().map(read).collect();
        let snapshot = Arc::new(Snapshot { values, external_change_count, version });
        self.snapshot.store(Some(Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Writes these values atomically; `None` restores the default.
    pub async fn set(&self, changes: &[(&str, Option<Value>)]) -> Result<(), DbError> {
        let mut batch = BatchWriter::default();
        for (key, value) in changes {
            push_value(&mut batch, key, value.as_ref());
        }
        self.sql.apply(batch).await?;
        self.note_change();
        Ok(())
    }

    /// Invalidates the cache, after something else changed the settings.
    pub fn forget_cached(&self) {
        self.note_change();
    }

    fn note_change(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Writes settings of an extension, by their names within it. The caller has validated them against its schema.
    pub async fn set_extension(&self, extension: &str, changes: Map<String, Value>) -> Result<(), DbError> {
        let prefix = extension_prefix(extension);
        let keys = changes.iter().map(|(name, value)| (format!("{prefix}{name}"), value));
        let keys = keys.collect::<Vec<_>>();
        let changes = keys.iter().map(|(key, value)| {
            let value = (!value.is_null()).then(|| (*value).clone());
            (key.as_str(), value)
        });
        self.set(&changes.collect::<Vec<_>>()).await
    }
}
