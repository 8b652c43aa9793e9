//! What is installed and enabled: rows in the database, the one truth of it.

use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::package::Package;
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    sql::{HostSql, Row, integer, is_null, text},
};

const COLUMNS: &str =
    "name, version, hash, is_enabled, is_builtin, manifest, quarantined_reason, probed_hash";

/// Holds what was read (?5, ?6).
const CHANGE: &str = "UPDATE tb_extensions SET is_enabled = ?2, quarantined_reason = ?3, updated_at = ?4 \
     WHERE name = ?1 AND is_enabled = ?5 AND quarantined_reason IS NOT DISTINCT FROM ?6";

/// How often a change is tried again because the extension was changed by somebody else meanwhile.
const ATTEMPTS_MAX: usize = 8;

const NOT_INSTALLED: DbError = DbError::Condition { statement: 0, affected: 0 };

/// An installed extension.
#[derive(Debug, Clone, PartialEq)]
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
}

impl Installed {
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
        }
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

    /// Everything installed, in the order of installation.
    pub async fn all(&self) -> Result<Vec<Installed>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM tb_extensions ORDER BY installed_at, name");
        Ok(self.sql.rows(&select, &[]).await?.iter().map(Installed::from_row).collect())
    }

    async fn find(&self, name: &str) -> Result<Option<Installed>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM tb_extensions WHERE name = ?1");
        Ok(self.sql.row(&select, &[ValueRef::Text(name)]).await?.as_ref().map(Installed::from_row))
    }

    /// Writes down a package that was probed. What is there of that name is replaced; whether it is enabled stays.
    pub async fn put(&self, package: &Package, is_builtin: bool, actor: &Actor) -> Result<(), DbError> {
        let name = package.manifest.name.as_str();
        let manifest = serde_json::to_string(&package.manifest).expect("a manifest is plain data");
        let version = package.manifest.version.to_string();
        let before = self.find(name).await?;
        let after = Installed {
            name: name.to_owned(),
            version: version.clone(),
            hash: package.hash.clone(),
            is_enabled: before.as_ref().is_none_or(|before| before.is_enabled),
            is_builtin,
            manifest: serde_json::to_value(&package.manifest).expect("a manifest is plain data"),
            quarantined_reason: None,
            probed_hash: None,
        };
        let params = [
            ValueRef::Text(name),
            ValueRef::Text(&version),
            ValueRef::Text(&package.hash),
            ValueRef::Integer(is_builtin.into()),
            ValueRef::Text(&manifest),
            ValueRef::Now,
        ];
        let mut batch = BatchWriter::default();
        batch.push(
            "INSERT INTO tb_extensions (name, version, hash, is_enabled, is_builtin, manifest, probed_hash, \
             installed_at, updated_at) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?3, ?6, ?6) \
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, hash = excluded.hash, \
             is_builtin = excluded.is_builtin, manifest = excluded.manifest, probed_hash = excluded.probed_hash, \
             quarantined_reason = NULL, updated_at = excluded.updated_at",
            params,
            Expect::Exactly(1),
        );
        let action = if before.is_some() { "extension.update" } else { "extension.install" };
        push_entry(&mut batch, actor, action, name, before.as_ref(), &after);
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Notes that a package was probed.
    pub async fn note_probed(&self, name: &str, hash: &str) -> Result<(), DbError> {
        let sql = "UPDATE tb_extensions SET probed_hash = ?2, updated_at = ?3 WHERE name = ?1";
        let mut batch = BatchWriter::default();
        batch.push(sql, [ValueRef::Text(name), ValueRef::Text(hash), ValueRef::Now], Expect::Exactly(1));
        self.sql.apply(batch).await.map(|_| ())
    }

    /// Keeps an extension from being loaded until it is installed anew or enabled by hand.
    pub async fn quarantine(&self, name: &str, reason: &str) -> Result<(), DbError> {
        let change = |extension: &mut Installed| extension.quarantined_reason = Some(reason.to_owned());
        self.change(name, "extension.quarantine", &Actor::system(), change).await
    }

    /// Enables or disables an extension; a quarantine ends with either.
    pub async fn set_enabled(&self, name: &str, enabled: bool, actor: &Actor) -> Result<(), DbError> {
        let action = if enabled { "extension.enable" } else { "extension.disable" };
        let change = |extension: &mut Installed| {
            extension.is_enabled = enabled;
            extension.quarantined_reason = None;
        };
        self.change(name, action, actor, change).await
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
            push_entry(&mut batch, actor, action, name, Some(&before), &after);
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

/// Adds the entry of a change; none where nothing changes.
fn push_entry(
    batch: &mut BatchWriter,
    actor: &Actor,
    action: &str,
    name: &str,
    before: Option<&Installed>,
    after: &Installed,
) {
    let before = before.map(Installed::audited).unwrap_or_default();
    let change = audit::changed(&before, &after.audited());
    if change.as_object().is_some_and(|fields| !fields.is_empty()) {
        audit::push(batch, actor, &Entry { action, target_kind: "extension", target_id: name, change });
    }
}
