//! A stored hook: which events are sent to which receiver. It reads and writes rows, and decides nothing.

use tinybase_plugin_api::{database::Row, prelude::*};

use crate::{Webhooks, time::Moment};

const COLUMNS: &str = "id, url, description, collections, events, headers, include_record, is_active, inactive_reason, \
                       secret_version, previous_secret_until, failures, created_at, updated_at, owner_id, owner_scopes, \
                       owner_token_ids";

/// The maximum number of hooks, since each event checks all of them.
const HOOKS_MAX: usize = 200;
const LOCK: &str = "INSERT INTO webhooks_setup (slot, taken_at) VALUES (1, '') \
                    ON CONFLICT (slot) DO UPDATE SET taken_at = webhooks_setup.taken_at";

/// A hook.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) description: String,
    /// `None` means all collections.
    pub(crate) collections: Option<Vec<String>>,
    pub(crate) events: Vec<String>,
    /// Additional headers, by name.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) include_record: bool,
    pub(crate) is_active: bool,
    /// Why it was deactivated automatically.
    pub(crate) inactive_reason: Option<String>,
    pub(crate) secret_version: i64,
    pub(crate) previous_secret_until: Option<Moment>,
    failures: i64,
    created_at: String,
    updated_at: String,
    /// The user who created it: it receives what this user may read. Hooks of an earlier version have none, and receive
    /// what anonymous users may read.
    pub(crate) owner_id: Option<String>,
    /// Additional limits if it was created or changed with an application token: scopes, separated by spaces.
    pub(crate) owner_scopes: Option<String>,
    /// The ids of these tokens. The hook stops working when any of them does.
    pub(crate) owner_token_ids: Vec<String>,
}

/// Parses stored JSON, written by this extension.
fn stored<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    let value: Json = text.parse().map_err(|error| Error::internal("stored_hook", format!("{error}")))?;
    T::deserialize(value).map_err(|error| Error::internal("stored_hook", error.to_string()))
}

impl Hook {
    /// Creates a hook with its first secret.
    pub(crate) fn new(id: String, now: Moment) -> Hook {
        Hook {
            id,
            url: String::new(),
            description: String::new(),
            collections: None,
            events: ["create", "update", "delete"].map(str::to_owned).to_vec(),
            headers: Vec::new(),
            include_record: true,
            is_active: true,
            inactive_reason: None,
            secret_version: 1,
            previous_secret_until: None,
            failures: 0,
            created_at: now.text(),
            updated_at: now.text(),
            owner_id: None,
            owner_scopes: None,
            owner_token_ids: Vec::new(),
        }
    }

    fn read(row: &Row<'_>) -> Result<Hook> {
        let headers: std::collections::BTreeMap<String, String> = stored(row.text(5)?)?;
        Ok(Hook {
            id: row.text(0)?.to_owned(),
            url: row.text(1)?.to_owned(),
            description: row.text(2)?.to_owned(),
            collections: row.text_or_null(3)?.map(stored).transpose()?,
            events: stored(row.text(4)?)?,
            headers: headers.into_iter().collect(),
            include_record: row.integer(6)? != 0,
            is_active: row.integer(7)? != 0,
            inactive_reason: row.text_or_null(8)?.map(str::to_owned),
            secret_version: row.integer(9)?,
            previous_secret_until: row.text_or_null(10)?.map(Moment::read).transpose()?,
            failures: row.integer(11)?,
            created_at: row.text(12)?.to_owned(),
            updated_at: row.text(13)?.to_owned(),
            owner_id: row.text_or_null(14)?.map(str::to_owned),
            owner_scopes: row.text_or_null(15)?.map(str::to_owned),
            owner_token_ids: row.text_or_null(16)?.map(stored).transpose()?.unwrap_or_default(),
        })
    }

    /// Returns whether the hook wants `event` (create, update or delete) in a collection.
    pub(crate) fn wants(&self, event: &str, collection: &str) -> bool {
        let of_collection =
            self.collections.as_ref().is_none_or(|names| names.iter().any(|name| name == collection));
        of_collection && self.events.iter().any(|known| known == event)
    }

    /// Returns the hook as routes show it: without the secret, and without the headers' values, which may be
    /// secrets too.
    pub(crate) fn json(&self) -> Json {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        json!({
            "id": self.id,
            "url": self.url,
            "description": self.description,
            "collections": self.collections,
            "events": self.events,
            "header_names": names,
            "include_record": self.include_record,
            "is_active": self.is_active,
            "inactive_reason": self.inactive_reason,
            "previous_secret_until": self.previous_secret_until.map(Moment::text),
            "failures": self.failures,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "owner_id": self.owner_id,
            "owner_scopes": self.owner_scopes.as_deref().map(|scopes| scopes.split_ascii_whitespace().collect::<Vec<_>>()),
            "owner_token_ids": self.owner_token_ids,
        })
    }

    /// Returns the scheme and host of its URL: the rest may be a secret.
    pub(crate) fn server(&self) -> Option<String> {
        let url: http::Uri = self.url.parse().ok()?;
        Some(format!("{}://{}", url.scheme_str()?, url.host()?))
    }

    /// Returns the fields for the audit log. Header values are left out, since they may be secrets.
    pub(crate) fn audited(&self) -> Json {
        let mut fields = self.json();
        for gone in ["id", "failures", "inactive_reason", "created_at", "updated_at"] {
            if let Some(fields) = fields.as_object_mut() {
                fields.remove(gone);
            }
        }
        fields
    }

    /// Returns the values of every column, in order.
    fn values(&self) -> Vec<Value> {
        let headers: Json =
            self.headers.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect();
        params![
            self.id.as_str(),
            self.url.as_str(),
            self.description.as_str(),
            self.collections.as_ref().map(|names| json!(names).to_string()),
            json!(self.events).to_string(),
            headers.to_string(),
            self.include_record,
            self.is_active,
            self.inactive_reason.clone(),
            self.secret_version,
            self.previous_secret_until.map(Moment::text),
            self.failures,
            self.created_at.as_str(),
            self.updated_at.as_str(),
            self.owner_id.clone(),
            self.owner_scopes.clone(),
            (!self.owner_token_ids.is_empty()).then(|| json!(self.owner_token_ids).to_string()),
        ]
        .to_vec()
    }

    /// Returns the batch that stores a new hook. It fails with `db_condition` if there are already `HOOKS_MAX`.
    pub(crate) fn insert(&self) -> Batch {
        let mut batch = Batch::default();
        // On PostgreSQL, concurrent statements do not see each other's rows, so every insert waits for this row.
        batch.push(LOCK, &[]);
        let sql = format!(
            "INSERT INTO webhooks_hooks ({COLUMNS}) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17 \
             WHERE (SELECT count(*) FROM webhooks_hooks) < {HOOKS_MAX}"
        );
        batch.push_expecting(Expect::Exactly(1), &sql, &self.values());
        batch
    }

    /// Returns the batch that stores a change. It fails with `db_condition` if the hook was changed since it was
    /// read.
    pub(crate) fn update(&mut self, now: Moment) -> Batch {
        let read_at = std::mem::replace(&mut self.updated_at, now.text());
        let mut values = self.values();
        values.push(read_at.into());
        let mut batch = Batch::default();
        let sql = "UPDATE webhooks_hooks SET url = ?2, description = ?3, collections = ?4, events = ?5, headers = ?6, \
                   include_record = ?7, is_active = ?8, inactive_reason = ?9, secret_version = ?10, \
                   previous_secret_until = ?11, failures = ?12, created_at = ?13, updated_at = ?14, \
                   owner_id = ?15, owner_scopes = ?16, owner_token_ids = ?17 WHERE id = ?1 AND updated_at = ?18";
        batch.push_expecting(Expect::Exactly(1), sql, &values);
        batch
    }

    /// Resets the failure count.
    pub(crate) fn forget_failures(&mut self) {
        self.failures = 0;
        self.inactive_reason = None;
    }
}

impl Webhooks {
    /// Returns every hook, in the order of creation.
    pub(crate) async fn hooks(&self) -> Result<Vec<Hook>> {
        let sql = format!("SELECT {COLUMNS} FROM webhooks_hooks ORDER BY id");
        let rows = self.database.query(ReadHint::Indexed, &sql, &[]).await?;
        rows.iter().map(|row| Hook::read(&row)).collect()
    }

    /// Returns a hook by its id.
    pub(crate) async fn hook(&self, id: &str) -> Result<Hook> {
        let sql = format!("SELECT {COLUMNS} FROM webhooks_hooks WHERE id = ?1");
        let rows = self.database.query(ReadHint::Indexed, &sql, params![id]).await?;
        let missing = || Error::not_found("webhook_not_found", "there is no such hook");
        Hook::read(&rows.first().ok_or_else(missing)?)
    }
}
