//! That every node serves with the same keys: their fingerprints are in the database, noted by the first node. It never
//! stores a key, and never replaces a fingerprint by itself.

use serde_json::json;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    sql::{HostSql, text},
};

const SELECT: &str = "SELECT fingerprint FROM tb_keys WHERE name = ?1";
const NOTE: &str = "INSERT INTO tb_keys (name, fingerprint, noted_at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (name) DO NOTHING";
const REPLACE: &str = "INSERT INTO tb_keys (name, fingerprint, noted_at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, noted_at = excluded.noted_at";

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyName {
    /// Signs access tokens.
    Signing,
    /// Seals secrets before they are stored.
    Sealing,
}

impl KeyName {
    /// Its name, as it is stored.
    pub fn name(self) -> &'static str {
        match self {
            KeyName::Signing => "signing",
            KeyName::Sealing => "sealing",
        }
    }
}

/// A key of this node, and the one that the database is served with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Which key.
    pub name: KeyName,
    /// The fingerprint of this node's.
    pub own: String,
    /// The fingerprint of the one that was noted; `None` before the first node served.
    pub noted: Option<String>,
}

/// Why this node must not serve.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The database is served with another key.
    #[error(
        "this node's {} key ({own}) is not the one that this database is served with ({noted}): {}; if the key was \
         replaced on purpose, run: tinybase keys adopt", .name.name(), remedy(*.name)
    )]
    Other {
        /// Which key.
        name: KeyName,
        /// The fingerprint of this node's.
        own: String,
        /// The fingerprint of the one that was noted.
        noted: String,
    },
    /// The database failed.
    #[error("which keys this database is served with cannot be read: {0}")]
    Database(#[from] DbError),
}

fn remedy(name: KeyName) -> &'static str {
    match name {
        KeyName::Signing => {
            "tokens that other nodes signed would be refused here; copy .tinybase/keys/ed25519.pem from a node that serves it"
        }
        KeyName::Sealing => {
            "what other nodes sealed could not be opened here; set TINYBASE_SECRET_KEY as on the other nodes, or copy \
             .tinybase/keys/secret.key from one of them"
        }
    }
}

/// The keys of this node, held against those that the database is served with.
#[derive(Debug)]
pub struct KeyConsistency {
    sql: HostSql,
    own: [(KeyName, String); 2],
}

impl KeyConsistency {
    /// `signing` and `sealing` are the fingerprints of this node's keys.
    pub fn new(sql: HostSql, signing: &str, sealing: &str) -> KeyConsistency {
        let own = [(KeyName::Signing, signing.to_owned()), (KeyName::Sealing, sealing.to_owned())];
        KeyConsistency { sql, own }
    }

    /// Both keys, with what was noted of them.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn known(&self) -> Result<Vec<KnownKey>, DbError> {
        let mut known = Vec::new();
        for (name, own) in &self.own {
            let row = self.sql.row(SELECT, &[ValueRef::Text(name.name())]).await?;
            known.push(KnownKey { name: *name, own: own.clone(), noted: row.map(|row| text(&row, 0)) });
        }
        Ok(known)
    }

    /// Notes the keys of the first node; refuses those of a later one that differ.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub async fn note_or_check(&self) -> Result<(), KeyFault> {
        // Most starts find both noted, and write nothing.
        let mut known = self.known().await?;
        if known.iter().any(|key| key.noted.is_none()) {
            let mut batch = BatchWriter::default();
            for key in &known {
                push(&mut batch, NOTE, key);
            }
            self.sql.apply(batch).await?;
            known = self.known().await?;
        }
        refuse_others(known)
    }

    /// Refuses keys that differ from those that were noted, and notes none.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub async fn check(&self) -> Result<(), KeyFault> {
        refuse_others(self.known().await?)
    }

    /// Makes this node's keys those that the database is served with, and leaves an entry in the audit log for each that
    /// changed. Answers those.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn adopt(&self, actor: &Actor) -> Result<Vec<KnownKey>, DbError> {
        let mut changed = self.known().await?;
        changed.retain(|key| key.noted.as_ref() != Some(&key.own));
        let mut batch = BatchWriter::default();
        for key in &changed {
            push(&mut batch, REPLACE, key);
            let change = json!({"fingerprint": {"from": key.noted, "to": key.own}});
            let entry = Entry { action: "key.adopt", target_kind: "key", target_id: key.name.name(), change };
            audit::push(&mut batch, actor, &entry);
        }
        self.sql.apply(batch).await?;
        Ok(changed)
    }
}

fn refuse_others(known: Vec<KnownKey>) -> Result<(), KeyFault> {
    let other = known.into_iter().find(|key| key.noted.as_ref().is_some_and(|noted| *noted != key.own));
    other.map_or(Ok(()), |key| {
        Err(KeyFault::Other { name: key.name, own: key.own, noted: key.noted.unwrap_or_default() })
    })
}

fn push(batch: &mut BatchWriter, sql: &str, key: &KnownKey) {
    let params = [ValueRef::Text(key.name.name()), ValueRef::Text(&key.own), ValueRef::Now];
    batch.push(sql, params, Expect::Any);
}
