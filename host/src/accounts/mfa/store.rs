//! The tables of second factors and recovery codes: every statement that reads or writes them. It never sees a secret
//! in plain text.

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::recovery::CodeHash;
use crate::{
    db::DbError,
    sql::{HostSql, integer, is_null, text},
};

const FIND: &str = "SELECT secret, confirmed_at, last_step FROM tb_second_factors WHERE user_id = ?1";
const HAS_CODE: &str = "SELECT 1 FROM tb_recovery_codes WHERE user_id = ?1 AND code_hash = ?2";
const CODES_LEFT: &str = "SELECT count(*) FROM tb_recovery_codes WHERE user_id = ?1";
const ENROL: &str = "INSERT INTO tb_second_factors (user_id, secret, created_at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at \
     WHERE tb_second_factors.confirmed_at IS NULL";
const CONFIRM: &str = "UPDATE tb_second_factors SET confirmed_at = ?4, last_step = ?3 \
     WHERE user_id = ?1 AND secret = ?2 AND confirmed_at IS NULL";
// The last step only moves forward: a code works once, even if two requests send it concurrently. A last step that is
// still in the future was used while the clock was ahead; it is ignored, so that it locks nobody out once the clock is
// right.
const USE_STEP: &str = "UPDATE tb_second_factors SET last_step = ?2 \
     WHERE user_id = ?1 AND (last_step < ?2 OR last_step > ?3) AND confirmed_at IS NOT NULL";
const USE_CODE: &str = "DELETE FROM tb_recovery_codes WHERE user_id = ?1 AND code_hash = ?2";
const DELETE: &str = "DELETE FROM tb_second_factors WHERE user_id = ?1 AND confirmed_at IS NOT NULL";
const FACTOR: &str = "SELECT user_id FROM tb_second_factors WHERE user_id = ?1";
const DELETE_CODES: &str = "DELETE FROM tb_recovery_codes WHERE user_id = ?1";
const INSERT_CODE: &str = "INSERT INTO tb_recovery_codes (user_id, code_hash) VALUES (?1, ?2)";

/// A stored second factor.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// The sealed secret.
    pub(super) sealed: String,
    /// Whether a code has proved that the user's app has the secret.
    pub(super) confirmed: bool,
    /// The time step of the last accepted code.
    pub(super) last_step: i64,
}

/// Returns the second factor of a user.
pub(super) async fn find(sql: &HostSql, user_id: &str) -> Result<Option<Factor>, DbError> {
    let row = sql.row(FIND, &[ValueRef::Text(user_id)]).await?;
    Ok(row.map(|row| Factor {
        sealed: text(&row, 0),
        confirmed: !is_null(&row, 1),
        last_step: integer(&row, 2),
    }))
}

/// Returns whether a user has an unused recovery code with this hash.
pub(super) async fn has_code(sql: &HostSql, user_id: &str, hash: &CodeHash) -> Result<bool, DbError> {
    Ok(sql.row(HAS_CODE, &[ValueRef::Text(user_id), ValueRef::Blob(hash)]).await?.is_some())
}

/// Returns the number of unused recovery codes of a user.
pub(super) async fn codes_left(sql: &HostSql, user_id: &str) -> Result<i64, DbError> {
    let row = sql.row(CODES_LEFT, &[ValueRef::Text(user_id)]).await?;
    Ok(row.map_or(0, |row| integer(&row, 0)))
}

/// Adds an unconfirmed secret to a batch. The batch fails with a condition if another is already confirmed.
pub(super) fn enrol(batch: &mut BatchWriter, user_id: &str, sealed: &str) {
    batch.push(ENROL, [ValueRef::Text(user_id), ValueRef::Text(sealed), ValueRef::Now], Expect::Exactly(1));
}

/// Adds the confirmation of this secret to a batch. The batch fails with a condition if the secret is no longer there
/// or unconfirmed.
pub(super) fn confirm(batch: &mut BatchWriter, user_id: &str, sealed: &str, step: i64) {
    let params = [ValueRef::Text(user_id), ValueRef::Text(sealed), ValueRef::Integer(step), ValueRef::Now];
    batch.push(CONFIRM, params, Expect::Exactly(1));
}

/// Adds the use of a time step to a batch. The batch fails with a condition if it, or a later one up to `newest`, was
/// used.
pub(super) fn use_step(batch: &mut BatchWriter, user_id: &str, step: i64, newest: i64) {
    let params = [ValueRef::Text(user_id), ValueRef::Integer(step), ValueRef::Integer(newest)];
    batch.push(USE_STEP, params, Expect::Exactly(1));
}

/// Adds the use of a recovery code to a batch. The batch fails with a condition if there is no such code.
pub(super) fn use_code(batch: &mut BatchWriter, user_id: &str, hash: &CodeHash) {
    batch.push(USE_CODE, [ValueRef::Text(user_id), ValueRef::Blob(hash)], Expect::Exactly(1));
}

/// Adds the deletion of a user's second factor to a batch. The batch fails with a condition if there is none.
pub(super) fn delete(batch: &mut BatchWriter, user_id: &str) {
    batch.push(DELETE, [ValueRef::Text(user_id)], Expect::Exactly(1));
    batch.push(DELETE_CODES, [ValueRef::Text(user_id)], Expect::Any);
}

/// Adds new recovery codes to a batch, replacing all older ones.
pub(super) fn replace_codes(sql: &HostSql, batch: &mut BatchWriter, user_id: &str, hashes: &[CodeHash]) {
    sql.hold(batch, FACTOR, &[ValueRef::Text(user_id)]);
    batch.push(DELETE_CODES, [ValueRef::Text(user_id)], Expect::Any);
    for hash in hashes {
        batch.push(INSERT_CODE, [ValueRef::Text(user_id), ValueRef::Blob(hash)], Expect::Exactly(1));
    }
}
