//! Checks that all nodes use the same keys: their fingerprints are stored in the database by the first node. It never
//! stores a key, and never replaces a fingerprint unless requested.

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

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyName {
    /// Signs access tokens.
    Signing,
    /// Seals secrets before they are stored.
    Sealing,
}

impl KeyName {
    /// Returns its name, as stored.
    pub fn name(self) -> &'static str {
        match self {
            KeyName::Signing => "signing",
            KeyName::Sealing => "sealing",
        }
    }
}

/// A key of this node, and the one that the database is used with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The kind of key.
    pub name: KeyName,
    /// The fingerprint of this node's key.
    pub own: String,
    /// The stored fingerprint; `None` before the first node started.
    pub noted: Option<String>,
}

/// Why this node must not serve.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The database is used with another key.
    #[error(
        "this node's {} key ({own}) is not the one that this database is served with ({noted}): {}; if the key was \
         replaced on purpose, run: tinybase keys adopt", .name.name(), remedy(*.name)
    )]
    Other {
        /// The kind of key.
        name: KeyName,
        /// The fingerprint of this node's key.
        own: String,
        /// The stored fingerprint.
        noted: String,
    },
    /// The database returned an error.
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

/// Compares the keys of this node with those that the database is used with.
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

    /// Returns both keys, with their stored fingerprints.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn known(&self) -> Result<Vec<KnownKey>, DbError> {
        let mut known = Vec::new();
        for (name, own) in &self.own {
            let row = self.sql.row(SELECT, &[ValueRef::Text(name.name())]).await?;
            known.push(KnownKey { name: *name, own: own.clone(), noted: row.map(|row| text(&row, 0)) });
        }
        Ok(known)
    }

    /// Stores the fingerprints of the first node; refuses those of a later one that differ.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub async fn note_or_check(&self) -> Result<(), KeyFault> {
        // Most starts find both stored, and write nothing.
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

    /// Refuses keys that differ from the stored fingerprints, and stores none.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub async fn check(&self) -> Result<(), KeyFault> {
        refuse_others(self.known().await?)
    }

    /// Replaces the stored fingerprints by those of this node, and adds an audit log entry for each that changed.
    /// Returns the changed keys.
    ///
    /// # Errors
    /// Those of the database.
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
