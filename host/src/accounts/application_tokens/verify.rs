//! The format of application tokens, and authentication by one. It never builds responses of the administration.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tinybase_abi::codec::ValueRef;

use super::statements;
use crate::{
    accounts::{Accounts, Caller, Scopes, users::User},
    error::ApiError,
    sql::{Row, integer, optional_text, text, time_from_now},
};

/// The prefix of every application token.
const PREFIX: &str = "tba_";

/// The number of random bytes in a token.
const RANDOM_BYTES: usize = 32;

/// Returns whether `token` has the format of an application token.
pub(in crate::accounts) fn has_form(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Generates a new token.
pub(super) fn make() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; RANDOM_BYTES]>()))
}

/// Returns the stored hash of a token. Tokens are fully random, so a fast hash is enough.
pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Accounts {
    /// Looks up the owner of an application token in the database. The result is cached like that of access tokens.
    pub(in crate::accounts) async fn verify_application_token(
        &self,
        token: &str,
    ) -> Result<Arc<Caller>, ApiError> {
        let invalid = || ApiError::unauthorized("token_invalid", "the token is not valid");
        let (sql, hash) = (self.users.sql(), hash(token));
        let row = sql.row(statements::USER_OF, &[ValueRef::Blob(&hash)]).await?.ok_or_else(invalid)?;
        let mark = self.cache.mark(&text(&row, 0));
        let row = sql.row(statements::BY_HASH, &[ValueRef::Blob(&hash)]).await?.ok_or_else(invalid)?;
        let user = User::from_row(&row, 4);
        if integer(&row, 3) == 0 || !user.is_active {
            return Err(ApiError::unauthorized(
                "token_revoked",
                "the application token was ended; have a new one made",
            ));
        }
        let expires_at_seconds = end_of(&row)?;
        let scopes = text(&row, 1).split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let scopes = Scopes::new(&scopes).map_err(|problem| {
            ApiError::internal_logged("an application token's scopes cannot be read", &problem)
        })?;
        let caller = Arc::new(Caller {
            user_id: user.id,
            email: user.email,
            role: user.role,
            epoch: user.epoch,
            session_id: None,
            token_id: Some(text(&row, 0).into()),
            scopes: Some(scopes),
        });
        self.cache.insert(token, Arc::clone(&caller), expires_at_seconds, mark);
        Ok(caller)
    }
}

/// Returns when the token expires, in seconds since 1970, or an error if it has expired.
fn end_of(row: &Row) -> Result<u64, ApiError> {
    let Some(end) = optional_text(row, 2) else { return Ok(u64::MAX) };
    if end <= time_from_now(0) {
        let detail = "the application token has expired; have a new one made";
        return Err(ApiError::unauthorized("token_expired", detail));
    }
    let end = end.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    Ok(u64::try_from(end).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_random_and_known_by_its_form() {
        let (one, other) = (make(), make());
        assert!(has_form(&one) && one != other);
        assert_eq!(one.len(), PREFIX.len() + 43);
        assert!(!has_form("tbr_x") && !has_form("eyJ.x.y") && !has_form(""));
        assert_ne!(hash(&one), hash(&other));
    }
}
