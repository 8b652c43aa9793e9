//! The journal of changes, `tb_extension_changes`: one row per change, with at most one open change in the
//! whole installation. A step is recorded before it is carried out, and only by the process that has claimed
//! the change. Never carries out a change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{
    change::{Change, ChangeError, Changed, Kind, Origin},
    crash_point::crash_point,
};
use crate::{
    audit::{Actor, ActorKind},
    db::{DbError, Engine},
    plugins::store::Installed,
    sql::{HostSql, Row, integer, is_null, text},
};

/// How long a claim on a change lasts without being renewed.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// How often a claim is renewed.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How many ended changes are kept.
const KEPT_MAX: i64 = 1000;

const COLUMNS: &str = "id, kind, name, from_version, from_hash, to_version, to_hash, details, step, carrier, held_until, \
                       who, ended_at, error_code, error_message";

/// The steps of a change, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The change was requested.
    Requested,
    /// It is checked whether the change is allowed.
    Verified,
    /// The package is copied into place.
    Unpacked,
    /// A separate process opens the library.
    Probed,
    /// Every other node fetches and probes the package.
    Prepared,
    /// Migrations run and the extension's row is changed, atomically with this step.
    Migrated,
    /// The plugin is started.
    Started,
    /// It is put into service, here and on every other node.
    Swapped,
    /// The replaced plugin ends.
    Drained,
    /// A rollback reverts the tables to the previous version.
    Reverted,
    /// An uninstallation deletes what it removes.
    Removed,
    /// The change failed and was undone.
    Undone,
    /// The change is complete.
    Done,
}

impl Step {
    const ALL: [Step; 13] = [
        Step::Requested,
        Step::Verified,
        Step::Unpacked,
        Step::Probed,
        Step::Prepared,
        Step::Migrated,
        Step::Started,
        Step::Swapped,
        Step::Drained,
        Step::Reverted,
        Step::Removed,
        Step::Undone,
        Step::Done,
    ];

    /// Returns its name, as it is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Requested => "requested",
            Step::Verified => "verified",
            Step::Unpacked => "unpacked",
            Step::Probed => "probed",
            Step::Prepared => "prepared",
            Step::Migrated => "migrated",
            Step::Started => "started",
            Step::Swapped => "swapped",
            Step::Drained => "drained",
            Step::Reverted => "reverted",
            Step::Removed => "removed",
            Step::Undone => "undone",
            Step::Done => "done",
        }
    }

    fn named(name: &str) -> Step {
        Step::ALL.into_iter().find(|step| step.name() == name).unwrap_or(Step::Requested)
    }
}

/// Further data of a change in the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::plugins) struct Details {
    /// The origin of the package.
    #[serde(default)]
    pub origin: Origin,
    /// Whether data is deleted too.
    #[serde(default)]
    pub purge: bool,
    /// Whether it is disabled although others need it.
    #[serde(default)]
    pub although_needed: bool,
    /// The only version that the change applies to.
    #[serde(default)]
    pub only_version: Option<String>,
    /// The accepted states of the extension at the beginning of the change: an `If-Match` header.
    #[serde(default)]
    pub if_match: Option<String>,
    /// The previous row, for an undo.
    #[serde(default)]
    pub before: Option<Installed>,
    /// The previous version of its tables.
    #[serde(default)]
    pub tables_before: u32,
    /// The folder of the package, if it is on this machine.
    #[serde(default)]
    pub source: Option<PathBuf>,
}

/// Who requested the change, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Who {
    kind: String,
    id: Option<String>,
    name: String,
    address: Option<String>,
    request_id: Option<String>,
}

fn pack_actor(actor: &Actor) -> String {
    let Actor { kind, id, name, address, request_id } = actor.clone();
    let who = Who { kind: kind.name().to_owned(), id, name, address, request_id };
    serde_json::to_string(&who).expect("an actor is plain data")
}

fn read_actor(packed: &str) -> Actor {
    let Ok(Who { kind, id, name, address, request_id }) = serde_json::from_str(packed) else {
        return Actor::system();
    };
    let kinds =
        [ActorKind::User, ActorKind::Token, ActorKind::Command, ActorKind::Extension, ActorKind::Nobody];
    let kind = kinds.into_iter().find(|known| known.name() == kind).unwrap_or(ActorKind::System);
    Actor { kind, id, name, address, request_id }
}

/// A change in the journal.
#[derive(Debug, Clone)]
pub(in crate::plugins) struct Entry {
    pub id: String,
    pub kind: Kind,
    pub name: String,
    pub from_version: Option<String>,
    pub from_hash: Option<String>,
    pub to_version: Option<String>,
    pub to_hash: Option<String>,
    pub details: Details,
    pub step: Step,
    pub carrier: Option<String>,
    pub held_until: i64,
    pub who: Actor,
    pub is_ended: bool,
    pub error: Option<ChangeError>,
}

impl Entry {
    /// Creates a change that nobody has claimed yet.
    pub(super) fn new(change: &Change, from: Option<(&str, &str)>, actor: &Actor) -> Entry {
        let owned = |(version, hash): (&str, &str)| (Some(version.to_owned()), Some(hash.to_owned()));
        let (from_version, from_hash) = from.map_or((None, None), owned);
        let mut details = Details::default();
        let (mut to_version, mut to_hash) = (None, None);
        let kind = match change {
            Change::Install { package, origin } | Change::Update { package, origin } => {
                details.origin = origin.clone();
                details.source = Some(package.folder.clone());
                (to_version, to_hash) =
                    (Some(package.manifest.version.to_string()), Some(package.hash.clone()));
                if from.is_some() { Kind::Update } else { Kind::Install }
            }
            Change::Enable { .. } => Kind::Enable,
            Change::Disable { revoked, .. } => {
                details.although_needed = revoked.is_some();
                details.only_version.clone_from(revoked);
                Kind::Disable
            }
            Change::Uninstall { purge, .. } => {
                details.purge = *purge;
                Kind::Uninstall
            }
            Change::Rollback { .. } => Kind::Rollback,
        };
        if matches!(kind, Kind::Enable | Kind::Disable) {
            (to_version, to_hash) = (from_version.clone(), from_hash.clone());
        }
        Entry {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            name: change.name().to_owned(),
            from_version,
            from_hash,
            to_version,
            to_hash,
            details,
            step: Step::Requested,
            carrier: None,
            held_until: 0,
            who: actor.clone(),
            is_ended: false,
            error: None,
        }
    }

    fn from_row(row: &Row) -> Entry {
        let optional = |column| (!is_null(row, column)).then(|| text(row, column));
        let kind = text(row, 1);
        let message = optional(14).unwrap_or_default();
        Entry {
            id: text(row, 0),
            kind: Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap_or(Kind::Enable),
            name: text(row, 2),
            from_version: optional(3),
            from_hash: optional(4),
            to_version: optional(5),
            to_hash: optional(6),
            details: serde_json::from_str(&text(row, 7)).unwrap_or_default(),
            step: Step::named(&text(row, 8)),
            carrier: optional(9),
            held_until: integer(row, 10),
            who: read_actor(&text(row, 11)),
            is_ended: optional(12).is_some(),
            error: optional(13).map(|code| ChangeError { code: code.into(), message }),
        }
    }

    /// Returns whether the extension's row already contains the change.
    pub(super) fn is_recorded(&self) -> bool {
        self.step >= Step::Migrated && self.step != Step::Undone
    }

    /// Returns the result of a change that has ended.
    pub(super) fn outcome(&self) -> Result<Changed, ChangeError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(Changed {
                id: self.id.clone(),
                kind: self.kind,
                name: self.name.clone(),
                from_version: self.from_version.clone(),
                to_version: self.to_version.clone(),
            }),
        }
    }
}

/// The journal, as used by a process that may carry out changes.
#[derive(Debug, Clone)]
pub(in crate::plugins) struct Journal {
    sql: HostSql,
    me: Arc<str>,
    now: &'static str,
}

impl Journal {
    /// Creates the journal for the process or node `me`.
    pub(super) fn new(sql: HostSql, me: Arc<str>) -> Journal {
        let now = match sql.database().engine() {
            Engine::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000",
            Engine::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000",
        };
        Journal { sql, me, now }
    }

    /// Returns the open change.
    pub(super) async fn open(&self) -> Result<Option<Entry>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM tb_extension_changes WHERE ended_at IS NULL");
        Ok(self.sql.row(&select, &[]).await?.as_ref().map(Entry::from_row))
    }

    /// Returns a change by its id.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Entry>, DbError> {
        let select = format!("SELECT {COLUMNS} FROM tb_extension_changes WHERE id = ?1");
        Ok(self.sql.row(&select, &[ValueRef::Text(id)]).await?.as_ref().map(Entry::from_row))
    }

    /// Records a change for another process to carry out. Returns false if another change is open.
    pub(super) async fn request(&self, entry: &Entry) -> Result<bool, DbError> {
        let mut batch = BatchWriter::default();
        let details = serde_json::to_string(&entry.details).expect("details are plain data");
        let who = pack_actor(&entry.who);
        let params = [
            ValueRef::Text(&entry.id),
            ValueRef::Text(entry.kind.name()),
            ValueRef::Text(&entry.name),
            or_null(&entry.from_version),
            or_null(&entry.from_hash),
            or_null(&entry.to_version),
            or_null(&entry.to_hash),
            ValueRef::Text(&details),
            ValueRef::Text(Step::Requested.name()),
            ValueRef::Text(&who),
            ValueRef::Now,
        ];
        batch.push(
            "INSERT INTO tb_extension_changes (id, kind, name, from_version, from_hash, to_version, to_hash, details, \
             step, who, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params,
            Expect::Exactly(1),
        );
        match self.sql.apply(batch).await {
            Ok(_) => Ok(true),
            Err(DbError::Unique { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Claims a change whose carrier is `entry.carrier`: nobody, or a node that is gone. Returns false if
    /// another node was faster.
    pub(super) async fn claim(&self, entry: &Entry) -> Result<bool, DbError> {
        let sql = format!(
            "UPDATE tb_extension_changes SET carrier = ?2, held_until = {} + ?4 \
             WHERE id = ?1 AND ended_at IS NULL AND carrier IS NOT DISTINCT FROM ?3",
            self.now
        );
        let change_lock = ValueRef::Integer(i64::try_from(HOLD.as_nanos()).unwrap_or(i64::MAX));
        let mut batch = BatchWriter::default();
        batch.push(
            &sql,
            [ValueRef::Text(&entry.id), ValueRef::Text(&self.me), or_null(&entry.carrier), change_lock],
            Expect::Any,
        );
        Ok(self.sql.apply(batch).await?.affected == [1])
    }

    /// Returns whether the claim on a change has expired.
    pub(super) async fn is_abandoned(&self, entry: &Entry) -> Result<bool, DbError> {
        let row = self.sql.row(&format!("SELECT {}", self.now), &[]).await?.unwrap_or_default();
        Ok(entry.carrier.is_some() && entry.held_until < integer(&row, 0))
    }

    /// Renews the claim on a change.
    pub(super) async fn renew(&self, id: &str) -> Result<(), DbError> {
        let sql = format!(
            "UPDATE tb_extension_changes SET held_until = {} + ?3 WHERE id = ?1 AND carrier = ?2",
            self.now
        );
        let change_lock = ValueRef::Integer(i64::try_from(HOLD.as_nanos()).unwrap_or(i64::MAX));
        let mut batch = BatchWriter::default();
        batch.push(&sql, [ValueRef::Text(id), ValueRef::Text(&self.me), change_lock], Expect::Any);
        self.sql.apply(batch).await.map(drop)
    }

    /// Adds a step to a batch. The batch is only applied if this process still has the claim on the change.
    pub(super) fn push_step(&self, batch: &mut BatchWriter, entry: &Entry, step: Step) {
        let details = serde_json::to_string(&entry.details).expect("details are plain data");
        let params = [
            ValueRef::Text(&entry.id),
            ValueRef::Text(&self.me),
            ValueRef::Text(step.name()),
            ValueRef::Text(&details),
            or_null(&entry.to_version),
            or_null(&entry.to_hash),
        ];
        batch.push(
            "UPDATE tb_extension_changes SET step = ?3, details = ?4, to_version = ?5, to_hash = ?6 \
             WHERE id = ?1 AND carrier = ?2 AND ended_at IS NULL",
            params,
            Expect::Exactly(1),
        );
    }

    /// Records a step before it is carried out.
    pub(super) async fn step(&self, entry: &mut Entry, step: Step) -> Result<(), ChangeError> {
        crash_point();
        let mut batch = BatchWriter::default();
        self.push_step(&mut batch, entry, step);
        self.sql.apply(batch).await.map_err(lost)?;
        entry.step = step;
        crash_point();
        Ok(())
    }

    /// Adds a statement to a batch that marks a change as undone, with its error. The change ends after its
    /// files are deleted too.
    pub(super) fn push_undone(&self, batch: &mut BatchWriter, entry: &Entry) {
        let error = entry.error.as_ref();
        let params = [
            ValueRef::Text(&entry.id),
            ValueRef::Text(&self.me),
            ValueRef::Text(Step::Undone.name()),
            error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.code)),
            error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.message)),
        ];
        let sql = "UPDATE tb_extension_changes SET step = ?3, error_code = ?4, error_message = ?5 \
                   WHERE id = ?1 AND carrier = ?2 AND ended_at IS NULL";
        batch.push(sql, params, Expect::Exactly(1));
    }

    /// Adds the end of a change to a batch.
    pub(super) fn push_end(&self, batch: &mut BatchWriter, entry: &Entry, error: Option<&ChangeError>) {
        let step = if error.is_some() { Step::Undone } else { Step::Done };
        let params = [
            ValueRef::Text(&entry.id),
            ValueRef::Text(step.name()),
            ValueRef::Now,
            error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.code)),
            error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.message)),
        ];
        batch.push(
            "UPDATE tb_extension_changes SET step = ?2, ended_at = ?3, error_code = ?4, error_message = ?5 \
             WHERE id = ?1 AND ended_at IS NULL",
            params,
            Expect::Any,
        );
        let old = "DELETE FROM tb_extension_changes WHERE ended_at IS NOT NULL AND id NOT IN \
                   (SELECT id FROM tb_extension_changes ORDER BY created_at DESC LIMIT ?1)";
        batch.push(old, [ValueRef::Integer(KEPT_MAX)], Expect::Any);
        let reports = "DELETE FROM tb_extension_reports WHERE change_id = ?1";
        batch.push(reports, [ValueRef::Text(&entry.id)], Expect::Any);
    }

    /// Ends a change.
    pub(super) async fn end(&self, entry: &Entry, error: Option<&ChangeError>) -> Result<(), DbError> {
        let mut batch = BatchWriter::default();
        self.push_end(&mut batch, entry, error);
        self.sql.apply(batch).await.map(drop)
    }

    /// Returns whether the last change of an extension removed it with its data.
    pub(in crate::plugins) async fn is_purged(&self, name: &str) -> Result<bool, DbError> {
        let select = format!(
            "SELECT {COLUMNS} FROM tb_extension_changes WHERE name = ?1 ORDER BY created_at DESC LIMIT 1"
        );
        let last = self.sql.row(&select, &[ValueRef::Text(name)]).await?.as_ref().map(Entry::from_row);
        Ok(last
            .is_some_and(|last| last.kind == Kind::Uninstall && last.details.purge && last.error.is_none()))
    }

    /// Withdraws a request that nobody has claimed. Returns false if it was claimed.
    pub(super) async fn withdraw(&self, id: &str) -> Result<bool, DbError> {
        let mut batch = BatchWriter::default();
        let sql = "DELETE FROM tb_extension_changes WHERE id = ?1 AND carrier IS NULL";
        batch.push(sql, [ValueRef::Text(id)], Expect::Any);
        Ok(self.sql.apply(batch).await?.affected == [1])
    }
}

fn or_null(text: &Option<String>) -> ValueRef<'_> {
    text.as_deref().map_or(ValueRef::Null, ValueRef::Text)
}

/// Converts the error of a step that could not be recorded: the database failed, or another process has
/// claimed the change.
pub(super) fn lost(error: DbError) -> ChangeError {
    match error {
        DbError::Condition { .. } => ChangeError::new(
            "change_interrupted",
            "this process took too long over the change, and another one carries it out by now",
        ),
        other => other.into(),
    }
}
