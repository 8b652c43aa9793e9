//! Shows and changes settings for the administration, and keeps their history. Each change is one batch with its
//! history and its audit log entry; of two concurrent changes, the later one is checked against the earlier.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, Value, ValueRef};

use super::{
    Settings,
    fields::{FIELDS, Field},
    push_value, rules,
};
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    error::ApiError,
    http::{
        etag::{self, IfMatch},
        query::Page,
    },
    sql::{Row, integer, optional_text, text},
};

/// The maximum number of attempts, if others change the settings concurrently.
const ATTEMPTS_MAX: usize = 8;

/// The maximum number of changes in the history; the oldest are deleted first. The audit log keeps them for its own
/// time.
pub const HISTORY_ROWS_MAX: i64 = 10_000;

/// Reads all settings of the host with their version.
const STORED: &str = "SELECT v.version, v.updated_at, s.key, s.value FROM tb_settings_state v \
     LEFT JOIN tb_settings s ON s.key NOT LIKE 'ext.%'";
const NEXT_VERSION: &str =
    "UPDATE tb_settings_state SET version = version + 1, updated_at = ?2 WHERE version = ?1";
const REMEMBER: &str = "INSERT INTO tb_settings_history \
     (changed_at, actor_kind, actor_id, actor_name, setting, value_from, value_to) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const FORGET: &str =
    "DELETE FROM tb_settings_history WHERE id <= (SELECT max(id) FROM tb_settings_history) - ?1";
// PostgreSQL infers a parameter's type from its first comparison, so that must not be with NULL.
const HISTORY_COUNT: &str = "SELECT count(*) FROM tb_settings_history WHERE setting = ?1 OR ?1 IS NULL";
const HISTORY: &str = "SELECT id, changed_at, actor_kind, actor_id, actor_name, setting, value_from, value_to \
     FROM tb_settings_history WHERE setting = ?1 OR ?1 IS NULL ORDER BY id DESC LIMIT ?2 OFFSET ?3";

/// One change of one setting.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryEntry {
    /// The number; later changes have higher ones.
    pub id: i64,
    /// When it was made, RFC 3339 UTC.
    pub changed_at: String,
    /// Who made it.
    pub changed_by: ChangedBy,
    /// The name of the setting.
    pub setting: String,
    /// The value before; null for a secret.
    pub from: Json,
    /// The value after; `changed` or `removed` for a secret.
    pub to: Json,
}

/// Who changed a setting, as in the audit log.
#[derive(Debug, Clone, Serialize)]
pub struct ChangedBy {
    /// `user` or `token`.
    pub kind: String,
    /// The user's or the application token's id.
    pub id: Option<String>,
    /// The user's email.
    pub name: String,
}

/// A page of changes, latest first.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryAnswer {
    /// The changes of the page.
    pub history: Vec<HistoryEntry>,
    /// The total number of changes.
    pub total: i64,
    /// The maximum number of changes in the page.
    pub limit: u64,
    /// The number of skipped changes.
    pub offset: u64,
}

/// The settings as in the response.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The values by name, with `updated_at`.
    pub settings: Map<String, Json>,
    /// The entity tag of this state.
    pub tag: String,
}

/// The stored settings at one moment.
struct Stored {
    version: i64,
    updated_at: String,
    values: Map<String, Json>,
}

impl Stored {
    fn value(&self, field: &Field) -> Json {
        self.values.get(field.name).cloned().unwrap_or_else(|| field.default())
    }

    fn tag(&self) -> String {
        etag::tag(&[&self.version.to_string(), &self.updated_at])
    }

    /// Returns the settings for the response: all but the secrets, for which it returns only whether they are set.
    fn answer(&self) -> Shown {
        let shown = FIELDS.iter().map(|field| match field.is_secret() {
            true => (format!("{}_is_set", field.name), self.values.contains_key(field.name).into()),
            false => (field.name.to_owned(), self.value(field)),
        });
        let shown = shown.chain([("updated_at".to_owned(), self.updated_at.as_str().into())]);
        Shown { settings: shown.collect(), tag: self.tag() }
    }
}

/// An effective change of one setting.
struct Change {
    field: &'static Field,
    from: Json,
    to: Json,
}

impl Change {
    /// Returns the values for the history: for a secret, only that it was changed.
    fn told(&self) -> (Json, Json) {
        match (self.field.is_secret(), self.to.is_null()) {
            (false, true) => (self.from.clone(), self.field.default()),
            (false, false) => (self.from.clone(), self.to.clone()),
            (true, true) => (Json::Null, "removed".into()),
            (true, false) => (Json::Null, "changed".into()),
        }
    }
}

impl Settings {
    /// Returns the settings for the administration, with `updated_at`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn shown(&self) -> Result<Shown, ApiError> {
        Ok(self.stored().await?.answer())
    }

    /// Changes the settings in `asked` atomically; null restores the default. Takes effect immediately, without a
    /// restart.
    ///
    /// # Errors
    /// 422 for an unknown setting or a malformed value; 412 `precondition_failed`; 400 `timezone_unknown`,
    /// `interval_too_small`, `redirect_url_invalid` and `portal_redirects_missing`.
    pub async fn change(
        &self,
        actor: &Actor,
        if_match: &IfMatch,
        asked: Map<String, Json>,
    ) -> Result<Shown, ApiError> {
        let wanted = rules::checked(asked)?;
        for _ in 0..ATTEMPTS_MAX {
            let stored = self.stored().await?;
            if_match.check(&stored.tag())?;
            let changes = differences(&stored, &wanted);
            if changes.is_empty() {
                return Ok(stored.answer());
            }
            rules::check_together(|name| {
                let changed = wanted.iter().find(|(field, _)| field.name == name);
                let stored = || Field::named(name).map_or(Json::Null, |field| stored.value(field));
                changed.map_or_else(stored, |(_, value)| value.clone())
            })?;
            match self.sql.apply(self.batch(actor, &stored, &changes)).await {
                Ok(_) => {
                    self.note_change();
                    return self.shown().await;
                }
                Err(DbError::Condition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::unavailable(
            "settings_contended",
            "the settings are changing all the time; try again shortly",
        ))
    }

    /// Returns a page of changes, of one setting or of all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn history(&self, setting: Option<&str>, page: Page) -> Result<HistoryAnswer, ApiError> {
        let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let total = self.sql.scan(HISTORY_COUNT, &[setting.into()]).await?;
        let params = [setting.into(), number(page.limit), number(page.offset)];
        let rows = self.sql.scan(HISTORY, &params).await?;
        Ok(HistoryAnswer {
            history: rows.iter().map(entry).collect(),
            total: total.first().map_or(0, |row| integer(row, 0)),
            limit: page.limit,
            offset: page.offset,
        })
    }

    async fn stored(&self) -> Result<Stored, DbError> {
        let rows = self.sql.rows(STORED, &[]).await?;
        let read = |row: &Row| Some((optional_text(row, 2)?, serde_json::from_str(&text(row, 3)).ok()?));
        Ok(Stored {
            version: rows.first().map_or(0, |row| integer(row, 0)),
            updated_at: rows.first().map_or_else(String::new, |row| text(row, 1)),
            values: rows.iter().filter_map(read).collect(),
        })
    }

    fn batch(&self, actor: &Actor, stored: &Stored, changes: &[Change]) -> BatchWriter {
        let mut batch = BatchWriter::default();
        let params = [ValueRef::Integer(stored.version), ValueRef::Now];
        batch.push(NEXT_VERSION, params, Expect::Exactly(1));
        let mut told_all = Map::new();
        for change in changes {
            let Change { field, to, .. } = change;
            match to {
                Json::String(plain) if field.is_secret() => {
                    let sealed = self.vault.seal(&format!("settings:{}", field.name), plain.as_bytes());
                    push_value(&mut batch, field.name, Some(&sealed.into()));
                }
                to => push_value(&mut batch, field.name, Some(to).filter(|to| !to.is_null())),
            }
            let (from, to) = change.told();
            remember(&mut batch, actor, field.name, &from, &to);
            let told = if field.is_secret() { to } else { json!({"from": from, "to": to}) };
            told_all.insert(field.name.to_owned(), told);
        }
        batch.push(FORGET, [ValueRef::Integer(HISTORY_ROWS_MAX)], Expect::Any);
        let entry = Entry {
            action: "settings.update",
            target_kind: "settings",
            target_id: "instance",
            change: Json::Object(told_all),
        };
        audit::push(&mut batch, actor, &entry);
        batch
    }
}

/// Returns the effective changes. A new value for a secret always counts, since the sealed one is not compared.
fn differences(stored: &Stored, wanted: &[(&'static Field, Json)]) -> Vec<Change> {
    let changes =
        wanted.iter().map(|(field, to)| Change { field, from: stored.value(field), to: to.clone() });
    let differs = |change: &Change| match (change.field.is_secret(), change.to.is_null()) {
        (true, true) => stored.values.contains_key(change.field.name),
        (true, false) => true,
        (false, true) => change.from != change.field.default(),
        (false, false) => change.from != change.to,
    };
    changes.filter(differs).collect()
}

fn remember(batch: &mut BatchWriter, actor: &Actor, setting: &str, from: &Json, to: &Json) {
    let (from, to) = (from.to_string(), to.to_string());
    let params = [
        ValueRef::Now,
        ValueRef::Text(actor.kind.name()),
        actor.id.as_deref().map_or(ValueRef::Null, ValueRef::Text),
        ValueRef::Text(&actor.name),
        ValueRef::Text(setting),
        ValueRef::Text(&from),
        ValueRef::Text(&to),
    ];
    batch.push(REMEMBER, params, Expect::Exactly(1));
}

fn entry(row: &Row) -> HistoryEntry {
    let value = |column| serde_json::from_str(&text(row, column)).unwrap_or(Json::Null);
    HistoryEntry {
        id: integer(row, 0),
        changed_at: text(row, 1),
        changed_by: ChangedBy { kind: text(row, 2), id: optional_text(row, 3), name: text(row, 4) },
        setting: text(row, 5),
        from: value(6),
        to: value(7),
    }
}
