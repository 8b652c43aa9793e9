//! What is installed and enabled: rows in the database, the one truth of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, Value, ValueRef};

use super::{lifecycle::Origin, package::Package};
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    sql::{HostSql, Row, integer, is_null, text},
};

const COLUMNS: &str = "name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, probed_hash, updated_at, \
     installed_at, registry, publisher, publisher_keys, archive_sha256, previous_version, previous_hash";

/// The host's migration that brought the last of these columns.
const SINCE: i64 = 10;

/// The same before that.
const OLDER_COLUMNS: &str = "name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, probed_hash, \
     updated_at, installed_at, NULL, NULL, '[]', NULL, NULL, NULL";

/// The whole row, as it is from now on.
const PUT: &str = "INSERT INTO tb_extensions (name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, \
     probed_hash, updated_at, installed_at, registry, publisher, publisher_keys, archive_sha256, previous_version, \
     previous_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
     ON CONFLICT (name) DO UPDATE SET version = excluded.version, hash = excluded.hash, \
     is_enabled = excluded.is_enabled, is_builtin = excluded.is_builtin, manifest = excluded.manifest, \
     quarantined_reason = excluded.quarantined_reason, probed_hash = excluded.probed_hash, \
     updated_at = excluded.updated_at, registry = excluded.registry, publisher = excluded.publisher, \
     publisher_keys = excluded.publisher_keys, archive_sha256 = excluded.archive_sha256, \
     previous_version = excluded.previous_version, previous_hash = excluded.previous_hash";

/// Holds what was read (?5, ?6).
const CHANGE: &str = "UPDATE tb_extensions SET is_enabled = ?2, quarantined_reason = ?3, updated_at = ?4 \
     WHERE name = ?1 AND is_enabled = ?5 AND quarantined_reason IS NOT DISTINCT FROM ?6";

/// How often a change is tried again because the extension was changed by somebody else meanwhile.
const ATTEMPTS_MAX: usize = 8;

const NOT_INSTALLED: DbError = DbError::Condition { statement: 0, affected: 0 };

/// An installed extension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its package's hash.
    pub hash: String,
    /// Whether an operator wants it loaded.
    pub is_enabled: bool,
    /// Whether it came with this program and follows its version.
    pub is_builtin: bool,
    /// Its manifest.
    pub manifest: Json,
    /// Why it is not loaded although it is enabled.
    pub quarantined_reason: Option<String>,
    /// The hash of the package that a probe has opened without harm.
    pub probed_hash: Option<String>,
    /// When what is wanted of it was changed last (RFC 3339).
    pub updated_at: String,
    /// When it was installed first (RFC 3339); empty before it is.
    pub installed_at: String,
    /// Where its package came from.
    pub origin: Origin,
    /// The version that a rollback goes back to.
    pub previous_version: Option<String>,
    /// The hash of that version's package.
    pub previous_hash: Option<String>,
}

impl Installed {
    /// Of this name, disabled and with nothing else known of it.
    pub(super) fn named(name: &str, version: &str, manifest: Json) -> Installed {
        Installed {
            name: name.to_owned(),
            version: version.to_owned(),
            hash: String::new(),
            is_enabled: false,
            is_builtin: false,
            manifest,
            quarantined_reason: None,
            probed_hash: None,
            updated_at: String::new(),
            installed_at: String::new(),
            origin: Origin::default(),
            previous_version: None,
            previous_hash: None,
        }
    }

    fn from_row(row: &Row) -> Installed {
        let optional = |column| (!is_null(row, column)).then(|| text(row, column));
        Installed {
            name: text(row, 0),
            version: text(row, 1),
            hash: text(row, 2),
            is_enabled: integer(row, 3) != 0,
            is_builtin: integer(row, 4) != 0,
            manifest: serde_json::from_str(&text(row, 5)).unwrap_or_default(),
            quarantined_reason: optional(6),
            probed_hash: optional(7),
            updated_at: text(row, 8),
            installed_at: text(row, 9),
            origin: Origin {
                registry: optional(10),
                publisher: optional(11),
                publisher_keys: serde_json::from_str(&text(row, 12)).unwrap_or_default(),
                archive_sha256: optional(13),
            },
            previous_version: optional(14),
            previous_hash: optional(15),
        }
    }

    /// As `package` would have it, of which a probe has opened the library.
    pub(super) fn of_package(package: &Package) -> Installed {
        let manifest = serde_json::to_value(&package.manifest).expect("a manifest is plain data");
        let (hash, probed_hash) = (package.hash.clone(), Some(package.hash.clone()));
        let named = Installed::named(&package.manifest.name, &package.manifest.version.to_string(), manifest);
        Installed { hash, probed_hash, ..named }
    }

    /// What of it the audit log follows.
    fn audited(&self) -> Map<String, Json> {
        let Installed { version, hash, is_enabled, is_builtin, quarantined_reason, .. } = self;
        let fields = json!({
            "version": version,
            "hash": hash,
            "is_enabled": is_enabled,
            "is_builtin": is_builtin,
            "capabilities": self.manifest["capabilities"],
            "quarantined_reason": quarantined_reason,
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    /// Whether it is to be loaded.
    pub fn is_wanted(&self) -> bool {
        self.is_enabled && self.quarantined_reason.is_none()
    }

    /// The name of the folder of its version below `extensions/<name>/`.
    pub fn folder_name(&self) -> String {
        folder_name(&self.version, &self.hash)
    }
}

/// The folder of a version: it contains the hash, so that a path never holds other bytes than before.
pub fn folder_name(version: &str, hash: &str) -> String {
    format!("{version}-{}", hash.get(..16).unwrap_or(hash))
}

/// The table of what is installed.
#[derive(Debug, Clone)]
pub struct Store {
    sql: HostSql,
}

impl Store {
    /// The table in the host's database.
    pub fn new(sql: HostSql) -> Store {
        Store { sql }
    }

    /// The host's own access to the database.
    pub(super) fn sql(&self) -> &HostSql {
        &self.sql
    }

    /// Applies a batch of the host's.
    pub(super) async fn apply(&self, batch: BatchWriter) -> Result<(), DbError> {
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Reads by key or index.
    pub(super) async fn rows(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<Row>, DbError> {
        self.sql.rows(sql, params).await
    }

    /// Reads at unknown cost.
    pub(super) async fn scan(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        self.sql.scan(sql, params).await
    }

    /// Everything installed, in the order of installation; also where the tables are those of an older version of this
    /// program, which commands that migrate them find.
    pub async fn all(&self) -> Result<Vec<Installed>, DbError> {
        let select = |columns| format!("SELECT {columns} FROM tb_extensions ORDER BY installed_at, name");
        let rows = match self.sql.rows(&select(COLUMNS), &[]).await {
            Err(DbError::Sql(_) | DbError::SchemaChanged(_)) if self.is_older().await? => {
                self.sql.rows(&select(OLDER_COLUMNS), &[]).await?
            }
            rows => rows?,
        };
        Ok(rows.iter().map(Installed::from_row).collect())
    }

    async fn is_older(&self) -> Result<bool, DbError> {
        let sql = "SELECT 1 FROM tb_migrations WHERE owner = 'host' AND version = ?1";
        Ok(self.sql.row(sql, &[ValueRef::Integer(SINCE)]).await?.is_none())
    }

    /// One that is installed.
    pub async fn find(&self, name: &str) -> Result<Option<Installed>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM tb_extensions WHERE name = ?1");
        Ok(self.sql.row(&select, &[ValueRef::Text(name)]).await?.as_ref().map(Installed::from_row))
    }

    /// Writes down a package that came with this program. What is there of that name is replaced; whether it is enabled
    /// stays.
    pub async fn put_builtin(&self, package: &Package, actor: &Actor) -> Result<(), DbError> {
        let before = self.find(&package.manifest.name).await?;
        let after = Installed {
            is_enabled: before.as_ref().is_none_or(|before| before.is_enabled),
            is_builtin: true,
            ..Installed::of_package(package)
        };
        let action = if before.is_some() { "extension.update" } else { "extension.install" };
        let mut batch = BatchWriter::default();
        push_put(&mut batch, &after);
        push_entry(&mut batch, actor, action, before.as_ref(), Some(&after));
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Notes that a package was probed.
    pub async fn note_probed(&self, name: &str, hash: &str) -> Result<(), DbError> {
        // Nothing that is wanted of it has changed.
        let sql = "UPDATE tb_extensions SET probed_hash = ?2 WHERE name = ?1";
        let mut batch = BatchWriter::default();
        batch.push(sql, [ValueRef::Text(name), ValueRef::Text(hash)], Expect::Exactly(1));
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Keeps an extension from being loaded until it is installed anew or enabled by hand.
    pub async fn quarantine(&self, name: &str, reason: &str) -> Result<(), DbError> {
        let change = |extension: &mut Installed| extension.quarantined_reason = Some(reason.to_owned());
        self.change(name, "extension.quarantine", &Actor::system(), change).await
    }

    /// Changes whether an extension is loaded, with an entry in the audit log where that changes anything. It is done over
    /// where another node, or a command, has changed it in between.
    async fn change(
        &self,
        name: &str,
        action: &str,
        actor: &Actor,
        change: impl Fn(&mut Installed),
    ) -> Result<(), DbError> {
        let mut outcome = Err(NOT_INSTALLED);
        for _ in 0..ATTEMPTS_MAX {
            let before = self.find(name).await?.ok_or(NOT_INSTALLED)?;
            let mut after = before.clone();
            change(&mut after);
            let mut batch = BatchWriter::default();
            let params = [
                ValueRef::Text(name),
                ValueRef::Integer(after.is_enabled.into()),
                or_null(after.quarantined_reason.as_deref()),
                ValueRef::Now,
                ValueRef::Integer(before.is_enabled.into()),
                or_null(before.quarantined_reason.as_deref()),
            ];
            batch.push(CHANGE, params, Expect::Exactly(1));
            push_entry(&mut batch, actor, action, Some(&before), Some(&after));
            outcome = self.sql.apply(batch).await.map(|_| ());
            if !matches!(outcome, Err(DbError::Condition { .. })) {
                break;
            }
        }
        outcome
    }
}

fn or_null(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(ValueRef::Null, ValueRef::Text)
}

/// Adds to a batch that the row of an extension is this one from now on.
pub(super) fn push_put(batch: &mut BatchWriter, after: &Installed) {
    let manifest = after.manifest.to_string();
    let keys = serde_json::to_string(&after.origin.publisher_keys).expect("keys are texts");
    let installed_at = Some(after.installed_at.as_str()).filter(|time| !time.is_empty());
    let params = [
        ValueRef::Text(&after.name),
        ValueRef::Text(&after.version),
        ValueRef::Text(&after.hash),
        ValueRef::Integer(after.is_enabled.into()),
        ValueRef::Integer(after.is_builtin.into()),
        ValueRef::Text(&manifest),
        or_null(after.quarantined_reason.as_deref()),
        or_null(after.probed_hash.as_deref()),
        ValueRef::Now,
        installed_at.map_or(ValueRef::Now, ValueRef::Text),
        or_null(after.origin.registry.as_deref()),
        or_null(after.origin.publisher.as_deref()),
        ValueRef::Text(&keys),
        or_null(after.origin.archive_sha256.as_deref()),
        or_null(after.previous_version.as_deref()),
        or_null(after.previous_hash.as_deref()),
    ];
    batch.push(PUT, params, Expect::Exactly(1));
}

/// Adds to a batch that an extension is not installed any more, nor told of anything.
pub(super) fn push_remove(batch: &mut BatchWriter, name: &str) {
    batch.push("DELETE FROM tb_extensions WHERE name = ?1", [ValueRef::Text(name)], Expect::Any);
    let subscribers = format!("{name}/");
    let of_its_own = "DELETE FROM tb_outbox WHERE substr(subscriber, 1, CAST(?1 AS INTEGER)) = ?2";
    let length = i64::try_from(subscribers.len()).expect("a name is short");
    batch.push(of_its_own, [ValueRef::Integer(length), ValueRef::Text(&subscribers)], Expect::Any);
}

/// Adds the entry of a change; none where nothing changes.
pub(super) fn push_entry(
    batch: &mut BatchWriter,
    actor: &Actor,
    action: &str,
    before: Option<&Installed>,
    after: Option<&Installed>,
) {
    let Some(one) = after.or(before) else { return };
    let audited = |one: Option<&Installed>| one.map(Installed::audited).unwrap_or_default();
    let change = audit::changed(&audited(before), &audited(after));
    if change.as_object().is_some_and(|fields| !fields.is_empty()) {
        audit::push(batch, actor, &Entry { action, target_kind: "extension", target_id: &one.name, change });
    }
}
