//! The store of what is installed and enabled: database rows, the single source of truth.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, Value, ValueRef, pack_values};

use super::{lifecycle::Origin, package::Package};
use crate::{
    audit::{self, Actor, Entry},
    db::{DbError, Engine, Transaction, migrations::Applied},
    http::etag,
    sql::{HostSql, Row, integer, is_null, read_rows, text},
};

const COLUMNS: &str = "name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, probed_hash, updated_at, \
     installed_at, registry, publisher, publisher_keys, archive_sha256, previous_version, previous_hash, previous_origin";

/// The columns in tables of older versions of this program, each with the host migration that added the
/// missing ones.
const OLDER_COLUMNS: [(i64, &str); 2] = [
    (
        10,
        "name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, probed_hash, updated_at, installed_at, \
         NULL, NULL, '[]', NULL, NULL, NULL, NULL",
    ),
    (
        13,
        "name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, probed_hash, updated_at, installed_at, \
         registry, publisher, publisher_keys, archive_sha256, previous_version, previous_hash, NULL",
    ),
];

/// The number of columns.
const COLUMNS_COUNT: usize = 17;

/// Inserts or replaces the whole row.
const PUT: &str = "INSERT INTO tb_extensions (name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, \
     probed_hash, updated_at, installed_at, registry, publisher, publisher_keys, archive_sha256, previous_version, \
     previous_hash, previous_origin) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT (name) DO UPDATE SET version = excluded.version, hash = excluded.hash, \
     is_enabled = excluded.is_enabled, is_builtin = excluded.is_builtin, manifest = excluded.manifest, \
     quarantined_reason = excluded.quarantined_reason, probed_hash = excluded.probed_hash, \
     updated_at = excluded.updated_at, registry = excluded.registry, publisher = excluded.publisher, \
     publisher_keys = excluded.publisher_keys, archive_sha256 = excluded.archive_sha256, \
     previous_version = excluded.previous_version, previous_hash = excluded.previous_hash, \
     previous_origin = excluded.previous_origin";

/// Applies only if the row is still as it was read (`?5`, `?6`).
const CHANGE: &str = "UPDATE tb_extensions SET is_enabled = ?2, quarantined_reason = ?3, updated_at = ?4 \
     WHERE name = ?1 AND is_enabled = ?5 AND quarantined_reason IS NOT DISTINCT FROM ?6";

/// How often a change is retried after a concurrent change of the same extension.
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
    /// Whether it is bundled with this program and follows its version.
    pub is_builtin: bool,
    /// Its manifest.
    pub manifest: Json,
    /// Why it is not loaded although it is enabled.
    pub quarantined_reason: Option<String>,
    /// The hash of the package that was probed successfully.
    pub probed_hash: Option<String>,
    /// When its desired state last changed (RFC 3339).
    pub updated_at: String,
    /// When it was first installed (RFC 3339); empty before that.
    pub installed_at: String,
    /// The origin of its package.
    pub origin: Origin,
    /// The version that a rollback restores.
    pub previous_version: Option<String>,
    /// The hash of that version's package.
    pub previous_hash: Option<String>,
    /// The origin of that version's package.
    #[serde(default)]
    pub previous_origin: Option<Origin>,
}

/// An installed extension and its applied migrations, read at the same moment.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The row.
    pub installed: Installed,
    /// Its applied migrations, in order.
    pub applied: Vec<Applied>,
}

impl Installed {
    /// Returns the tag of its changeable state. The state on each node is not part of it.
    pub fn tag(&self) -> String {
        let is_enabled = if self.is_enabled { "1" } else { "0" };
        let quarantined = self.quarantined_reason.as_deref().unwrap_or_default();
        let previous = self.previous_hash.as_deref().unwrap_or_default();
        etag::tag(&[
            &self.name,
            &self.version,
            &self.hash,
            is_enabled,
            quarantined,
            previous,
            &self.updated_at,
        ])
    }

    /// Creates a disabled extension with this name and no further data.
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
            previous_origin: None,
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
            previous_origin: optional(16).and_then(|origin| serde_json::from_str(&origin).ok()),
        }
    }

    /// Creates the row of a package whose library was probed.
    pub(super) fn of_package(package: &Package) -> Installed {
        let manifest = serde_json::to_value(&package.manifest).expect("a manifest is plain data");
        let (hash, probed_hash) = (package.hash.clone(), Some(package.hash.clone()));
        let named = Installed::named(&package.manifest.name, &package.manifest.version.to_string(), manifest);
        Installed { hash, probed_hash, ..named }
    }

    /// Returns the fields that the audit log records.
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

    /// Returns whether it should be loaded.
    pub fn is_wanted(&self) -> bool {
        self.is_enabled && self.quarantined_reason.is_none()
    }

    /// Returns the name of its version's folder below `extensions/<name>/`.
    pub fn folder_name(&self) -> String {
        folder_name(&self.version, &self.hash)
    }
}

/// Returns the folder name of a version. It contains the hash, so the contents of a path never change.
pub fn folder_name(version: &str, hash: &str) -> String {
    format!("{version}-{}", hash.get(..16).unwrap_or(hash))
}

/// The table of installed extensions.
#[derive(Debug, Clone)]
pub struct Store {
    sql: HostSql,
}

impl Store {
    /// Creates the store in the host's database.
    pub fn new(sql: HostSql) -> Store {
        Store { sql }
    }

    /// Returns the host's own access to the database.
    pub(super) fn sql(&self) -> &HostSql {
        &self.sql
    }

    /// Applies a batch of the host.
    pub(super) async fn apply(&self, batch: BatchWriter) -> Result<(), DbError> {
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Runs a query that uses a key or index.
    pub(super) async fn rows(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<Row>, DbError> {
        self.sql.rows(sql, params).await
    }

    /// Runs a query of unknown cost.
    pub(super) async fn scan(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        self.sql.scan(sql, params).await
    }

    /// Returns all installed extensions in order of installation. Also reads the tables of older versions of
    /// this program, which migration commands encounter.
    pub async fn all(&self) -> Result<Vec<Installed>, DbError> {
        let select = |columns| format!("SELECT {columns} FROM tb_extensions ORDER BY installed_at, name");
        let rows = match self.sql.rows(&select(COLUMNS), &[]).await {
            Err(error @ (DbError::Sql(_) | DbError::SchemaChanged(_))) => match self.older_columns().await? {
                Some(columns) => self.sql.rows(&select(columns), &[]).await?,
                None => return Err(error),
            },
            rows => rows?,
        };
        Ok(rows.iter().map(Installed::from_row).collect())
    }

    async fn older_columns(&self) -> Result<Option<&'static str>, DbError> {
        let sql = "SELECT max(version) FROM tb_migrations WHERE owner = 'host'";
        let version = self.sql.row(sql, &[]).await?.map_or(0, |row| integer(&row, 0));
        Ok(OLDER_COLUMNS.iter().find(|(since, _)| version < *since).map(|(_, columns)| *columns))
    }

    /// Returns all installed extensions in order of installation, with their applied migrations. Uses one
    /// statement, so that a concurrent commit affects both or neither.
    pub(super) async fn desired(&self) -> Result<Vec<Desired>, DbError> {
        let select = format!(
            "SELECT e.*, m.version, m.title, m.checksum, m.applied_at FROM (SELECT {COLUMNS} FROM tb_extensions) e \
             LEFT JOIN tb_migrations m ON m.owner = e.name ORDER BY e.installed_at, e.name, m.version"
        );
        let mut all: Vec<Desired> = Vec::new();
        for row in self.sql.rows(&select, &[]).await? {
            if all.last().is_none_or(|last| last.installed.name != text(&row, 0)) {
                all.push(Desired { installed: Installed::from_row(&row), applied: Vec::new() });
            }
            if let Some(last) = all.last_mut().filter(|_| !is_null(&row, COLUMNS_COUNT)) {
                last.applied.push(Applied {
                    version: u32::try_from(integer(&row, COLUMNS_COUNT)).unwrap_or(u32::MAX),
                    title: text(&row, COLUMNS_COUNT + 1),
                    checksum: text(&row, COLUMNS_COUNT + 2),
                    applied_at: text(&row, COLUMNS_COUNT + 3),
                });
            }
        }
        Ok(all)
    }

    /// Locks an extension's row until the transaction ends. Returns false if the row names another package.
    pub(super) async fn hold_row(
        &self,
        transaction: &mut dyn Transaction,
        name: &str,
        hash: &str,
    ) -> Result<bool, DbError> {
        let hold = if self.sql.database().engine() == Engine::Postgres { " FOR UPDATE" } else { "" };
        let select = format!("SELECT hash FROM tb_extensions WHERE name = ?1{hold}");
        let rows = transaction.query(select, pack_values([ValueRef::Text(name)])).await?;
        Ok(read_rows(&rows)?.first().is_some_and(|row| text(row, 0) == hash))
    }

    /// Returns an installed extension by name.
    pub async fn find(&self, name: &str) -> Result<Option<Installed>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM tb_extensions WHERE name = ?1");
        Ok(self.sql.row(&select, &[ValueRef::Text(name)]).await?.as_ref().map(Installed::from_row))
    }

    /// Records a package bundled with this program. Replaces an existing row of that name, but keeps whether
    /// it is enabled.
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

    /// Records that a package was probed.
    pub async fn note_probed(&self, name: &str, hash: &str) -> Result<(), DbError> {
        // The desired state has not changed, so `updated_at` stays.
        let sql = "UPDATE tb_extensions SET probed_hash = ?2 WHERE name = ?1";
        let mut batch = BatchWriter::default();
        batch.push(sql, [ValueRef::Text(name), ValueRef::Text(hash)], Expect::Exactly(1));
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Keeps an extension from being loaded until it is reinstalled or enabled by hand.
    pub async fn quarantine(&self, name: &str, reason: &str) -> Result<(), DbError> {
        let change = |extension: &mut Installed| extension.quarantined_reason = Some(reason.to_owned());
        self.change(name, "extension.quarantine", &Actor::system(), change).await
    }

    /// Changes whether an extension is loaded, with an audit log entry if anything changes. Retries if
    /// another node or a command changed it in the meantime.
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

/// Adds a statement to a batch that inserts or replaces an extension's row.
pub(super) fn push_put(batch: &mut BatchWriter, after: &Installed) {
    let manifest = after.manifest.to_string();
    let keys = serde_json::to_string(&after.origin.publisher_keys).expect("keys are texts");
    let previous_origin = after.previous_origin.as_ref();
    let previous_origin =
        previous_origin.map(|origin| serde_json::to_string(origin).expect("an origin is plain data"));
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
        or_null(previous_origin.as_deref()),
    ];
    batch.push(PUT, params, Expect::Exactly(1));
}

/// Adds statements to a batch that remove an extension's row and its outbox events.
pub(super) fn push_remove(batch: &mut BatchWriter, name: &str) {
    batch.push("DELETE FROM tb_extensions WHERE name = ?1", [ValueRef::Text(name)], Expect::Any);
    let subscribers = format!("{name}/");
    let of_its_own = "DELETE FROM tb_outbox WHERE substr(subscriber, 1, CAST(?1 AS INTEGER)) = ?2";
    let length = i64::try_from(subscribers.len()).expect("a name is short");
    batch.push(of_its_own, [ValueRef::Integer(length), ValueRef::Text(&subscribers)], Expect::Any);
}

/// Adds the audit log entry of a change. Adds nothing if nothing changes.
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
